"""The benchmark of ``make bench``: consoled beside real peers, in one run on one machine.

The daemon, websockify, HAProxy and no relay at all get the same backend
(:mod:`bench.backend`) and the same client (:mod:`bench.client`), each in a
process of its own; docs/performance.rst says what the figures mean.
"""

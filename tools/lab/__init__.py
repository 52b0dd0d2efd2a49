"""A laboratory on one machine: private libvirt daemons and tiny guests.

The demo, the functional tests and the benchmarks share it. Everything in it
runs under :mod:`tools.lab.keeper`, so nothing outlives the process that
started it. Only :mod:`tools.lab.guest` needs libvirt's Python binding.
"""

"""The REST API: nova-compatible routes and consoled's own.

Import :mod:`consoled.api.app` late: Klein installs the default reactor.
"""

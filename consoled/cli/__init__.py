"""``consolectl``: the operator's command, a client of the database's schema and of the API.

One module a noun (``db``, ``server``, ``console``), which :mod:`consoled.cli.root`
puts together. A noun asks :class:`consoled.cli.invocation.Invocation` for what
the options lead to: the settings, or an :class:`consoled.cli.api.ApiClient`.
"""

from consoled.cli.root import main

__all__ = ["main"]

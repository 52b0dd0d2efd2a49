"""Exclusive consoles across the replicas of a cell (docs: design, "The lease protocol").

:mod:`~consoled.leasing.cell` is what the rest of consoled sees. Below it,
:mod:`~consoled.leasing.heart` keeps this replica alive, :mod:`~consoled.leasing.lookout`
watches the others; :mod:`~consoled.leasing.standing`, :mod:`~consoled.leasing.watch` and
:mod:`~consoled.leasing.values` are their pure rules.
"""

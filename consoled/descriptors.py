"""File descriptors: how many a daemon needs, and whether it may have them.

A session takes one for its viewer, one for its console, and one for its recording where
sessions are recorded. The soft limit is raised to the hard one; where that is too low for
``[proxy] max_sessions`` the daemon does not start, because its users would be turned away
long before it is full.
"""

from __future__ import annotations

import resource

from consoled.errors import ConfigError

RESERVE = 512
"""For listeners, databases, libvirt, other replicas, and requests of the API."""


def needed(max_sessions: int, *, recorded: bool) -> int:
    """The descriptors of so many sessions, and of all else.

    :param recorded: whether sessions are recorded.
    """
    return _each(recorded) * max_sessions + RESERVE


def refuse_too_few(max_sessions: int, *, recorded: bool, hard: int) -> None:
    """Nothing, where the limit is high enough.

    :param hard: the hard limit, as of :func:`resource.getrlimit`.
    :raises consoled.errors.ConfigError: it is not, and what would be.
    """
    wanted = needed(max_sessions, recorded=recorded)
    if hard == resource.RLIM_INFINITY or hard >= wanted:
        return
    fitting = (hard - RESERVE) // _each(recorded)
    lower = f", or set max_sessions to {fitting} or less" if fitting > 0 else ""
    raise ConfigError(
        f"[proxy] max_sessions {max_sessions} needs {wanted} file descriptors, and this process "
        f"may have {hard}: raise LimitNOFILE (ulimit -Hn){lower}"
    )


def hard_limit() -> int:
    """How many descriptors this process may let itself have."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def raise_soft_limit() -> None:
    """Takes as many as the hard limit allows."""
    hard = hard_limit()
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _each(recorded: bool) -> int:
    return 3 if recorded else 2

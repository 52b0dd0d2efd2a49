"""The keys of Linux's SysRq, as a serial port takes them: a BREAK, and within 5 s the key.

Source: the kernel's Documentation/admin-guide/sysrq.rst. What of it a guest does is the guest's
own decision (``kernel.sysrq``), and only a port that is a console of its kernel listens.
"""

from __future__ import annotations

from consoled.errors import BadRequest

KEYS = frozenset("0123456789bcdefghijklmnopqrstuvwxyz")
"""Each digit and letter that stands for something; ``h`` is help."""


def check_key(key: str) -> None:
    """Nothing, where the key is one that a kernel knows.

    :raises consoled.errors.BadRequest: it is not.
    """
    if key not in KEYS:
        raise BadRequest("A SysRq key is a digit or a lower-case letter from b to z; h is help.")


def marker(key: str | None) -> str:
    """What a recording says of it.

    :param key: of a SysRq, or None for a BREAK alone.
    """
    return "BREAK" if key is None else f"BREAK, SysRq {key}"


def name(key: str | None) -> str:
    """What people are told that it is.

    :param key: of a SysRq, or None for a BREAK alone.
    """
    return "BREAK" if key is None else f"SysRq {key}"

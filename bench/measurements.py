"""The measurements: one round of each on one subject."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from attrs import evolve, frozen

from bench.cells import KEY, Databases
from bench.figures import Kind, percentiles
from bench.keystone import KINDS as KEYSTONE_KINDS
from bench.keystone import with_keystone
from bench.kinds import (
    BULK,
    ISSUED,
    KEYSTROKE,
    KEYSTROKE_TLS,
    OPENED,
    OPENED_TLS,
    RECORDED,
    RECORDING,
    TYPING,
    TYPING_FLOODED,
    idle_kind,
)
from bench.ports import ALLOCATED, RECONCILED, allocated, reconciled
from bench.processes import Client, ask, memory
from bench.scale import Scale, affordable
from bench.service_tokens import KINDS as SERVICE_TOKEN_KINDS
from bench.service_tokens import with_service_tokens
from bench.sockets import Endpoint
from bench.ssh import KINDS as SSH_KINDS
from bench.ssh import over_ssh
from bench.subjects import Daemon, Subject
from bench.tokens import (
    Found,
    TokenScale,
    expiry,
    expiry_kinds,
    mixed,
    mixed_kinds,
    throughput,
    throughput_kinds,
)

Round = Mapping[str, Mapping[str, float]]
"""Kind name to statistics."""


PERIOD = 0.1
"""Seconds between two keys of a typist."""

OPENING_AT_ONCE = 16
STEP = 500
"""Sessions that one client opens at most, which has a minute for it."""
ISSUING_AT_ONCE = 8


@frozen
class Measurement:
    """Something that is measured.

    :ivar name: for ``--only``.
    :ivar kinds: the figures that it gives.
    :ivar suits: whether it can be measured on a subject.
    :ivar round: one round.
    :ivar rounds: as many at most.
    :ivar warms: whether a round that is not counted comes first.
    """

    name: str
    kinds: tuple[Kind, ...]
    suits: Callable[[Subject], bool]
    round: Callable[[Subject, Scale], Round]
    rounds: int = 99
    warms: bool = True


def keystroke(subject: Subject, scale: Scale, *, tls: bool = False) -> Round:
    """One session types a byte, waits for its echo, and types the next."""
    found = _keystrokes(subject.endpoint("echo", tls=tls), scale)
    return {(KEYSTROKE_TLS if tls else KEYSTROKE).name: found}


def _keystrokes(endpoint: Endpoint, scale: Scale) -> Mapping[str, float]:
    answer = ask(
        action="keystroke", endpoints=[endpoint], count=scale.keystrokes, seconds=scale.seconds
    )
    return percentiles([nanoseconds / 1000 for nanoseconds in answer["nanoseconds"]])


def keystroke_tls(subject: Subject, scale: Scale) -> Round:
    """The same over TLS."""
    return keystroke(subject, scale, tls=True)


def keystroke_recorded(subject: Subject, scale: Scale) -> Round:
    """The same in a session that is recorded, and in one that is not: alternately, in pieces."""
    assert isinstance(subject, Daemon)
    piece = evolve(scale, keystrokes=scale.keystrokes // 2, seconds=scale.seconds / 2)
    endpoints = [subject.endpoint("echo"), subject.recorded("echo")]
    pieces = [[_keystrokes(each, piece) for each in endpoints] for _ in range(2)]
    plain, recorded = (
        {name: sum(one[name] for one in of_one) / len(of_one) for name in of_one[0]}
        for of_one in zip(*pieces, strict=True)
    )
    ratios = {name: recorded[name] / plain[name] for name in plain}
    return {RECORDED.name: recorded, RECORDING.name: ratios}


def typing(subject: Subject, scale: Scale) -> Round:
    """Many sessions type at their own pace."""
    found = _typing(subject, scale)
    subject.ground.backend.drain()
    return {TYPING.name: found}


def _typing(subject: Subject, scale: Scale) -> Mapping[str, float]:
    answer = ask(
        action="typing",
        endpoints=subject.many("echo", scale.typists),
        at_once=OPENING_AT_ONCE,
        keys=scale.keys,
        period=PERIOD,
    )
    return percentiles([nanoseconds / 1000 for nanoseconds in answer["nanoseconds"]])


def typing_flooded(subject: Subject, scale: Scale) -> Round:
    """The same while one more session reads a flood, in a client of its own."""
    flood = subject.endpoint("flood")
    with Client(action="flooded", endpoints=[flood]) as reader:
        reader.result()
        found = _typing(subject, scale)
    subject.ground.backend.drain()
    return {TYPING_FLOODED.name: found}


def bulk(subject: Subject, scale: Scale) -> Round:
    """One session reads a flood."""
    answer = ask(
        action="bulk",
        endpoints=[subject.endpoint("flood")],
        seconds=scale.seconds,
        warm_up=scale.seconds / 10,
    )
    return {BULK.name: {"value": answer["bytes"] / answer["seconds"] / 1e6}}


def opened(subject: Subject, scale: Scale, *, tls: bool = False) -> Round:
    """Sessions are opened, some at a time, and all held until the last one is open."""
    endpoints = subject.many("quiet", scale.opens, tls=tls)
    with Client(action="open", endpoints=endpoints, at_once=OPENING_AT_ONCE) as client:
        answer = client.result()
    # A console has one writer: the next round finds every one of them free.
    subject.ground.backend.drain()
    kind = OPENED_TLS if tls else OPENED
    return {kind.name: {"value": answer["opened"] / answer["seconds"]}}


def opened_tls(subject: Subject, scale: Scale) -> Round:
    """The same over TLS."""
    return opened(subject, scale, tls=True)


def idle(subject: Subject, scale: Scale, *, tls: bool = False) -> Round:
    """Sessions are opened in a fresh process and left alone."""
    counts = affordable(scale.idle_tls if tls else scale.idle)
    if subject.forks:
        counts = tuple(count for count in counts if count <= scale.idle_forks)
    found: dict[str, Mapping[str, float]] = {}
    if not counts:
        return found
    with subject.idle(scale.warm + counts[-1], tls=tls) as fresh:
        # The first sessions pay for what is made once, and use up what the start has freed.
        warm = Client(
            action="open", endpoints=fresh.endpoints[: scale.warm], at_once=OPENING_AT_ONCE
        )
        clients = [warm]
        try:
            warm.result()
            before, opened_so_far = memory(fresh.keeper), 0
            for count in counts:
                while opened_so_far < count:
                    more = fresh.endpoints[scale.warm :][
                        opened_so_far : min(count, opened_so_far + STEP)
                    ]
                    clients.append(Client(action="open", endpoints=more, at_once=OPENING_AT_ONCE))
                    clients[-1].result()
                    opened_so_far += len(more)
                growth = memory(fresh.keeper) - before
                found[idle_kind(count, tls=tls).name] = {"value": growth / count / 1024}
        finally:
            for client in clients:
                client.end()
    subject.ground.backend.drain()
    return found


def idle_tls(subject: Subject, scale: Scale) -> Round:
    """The same over TLS."""
    return idle(subject, scale, tls=True)


def issued(subject: Subject, scale: Scale) -> Round:
    """Console URLs are asked for over some connections at a time."""
    assert isinstance(subject, Daemon)
    port, paths = subject.api(scale.tokens)
    answer = ask(action="issue", ports=[port], key=KEY, paths=paths, at_once=ISSUING_AT_ONCE)
    return {ISSUED.name: {"value": len(answer["urls"]) / answer["seconds"]}}


def ports(subject: Subject, scale: Scale) -> Round:
    """The books of ports, of hypervisors and databases of their own."""
    return {RECONCILED.name: reconciled(scale.ports), ALLOCATED.name: allocated(scale.ports)}


def ssh(subject: Subject, scale: Scale) -> Round:
    """Streams through an SSH server, beside OpenSSH's client."""
    return over_ssh(scale.ssh, subject.ground.backend)


def keystone(subject: Subject, scale: Scale) -> Round:
    """Console URLs for callers whom a real Keystone knows."""
    return with_keystone(scale.openstack)


def service_tokens(subject: Subject, scale: Scale) -> Round:
    """Operations on a real Glance, with and without service tokens."""
    return with_service_tokens(scale.openstack)


def measurements(scale: Scale) -> list[Measurement]:
    """All of them, in the order of the table."""
    return [
        Measurement("keystroke", (KEYSTROKE,), _is_plain, keystroke),
        Measurement("keystroke_tls", (KEYSTROKE_TLS,), _has_tls, keystroke_tls),
        Measurement("recording", (RECORDED, RECORDING), _is_ours, keystroke_recorded),
        Measurement("typing", (TYPING,), _is_plain, typing, rounds=3),
        Measurement("typing_flooded", (TYPING_FLOODED,), _is_plain, typing_flooded, rounds=3),
        Measurement("bulk", (BULK,), _is_plain, bulk),
        Measurement(
            "idle",
            tuple(idle_kind(count) for count in scale.idle),
            lambda subject: subject.relays and subject.plain,
            idle,
            rounds=2,
            warms=False,
        ),
        Measurement(
            "idle_tls",
            tuple(idle_kind(count, tls=True) for count in scale.idle_tls),
            _has_tls,
            idle_tls,
            rounds=2,
            warms=False,
        ),
        Measurement("opened", (OPENED,), _is_plain, opened),
        Measurement("opened_tls", (OPENED_TLS,), _has_tls, opened_tls, rounds=3),
        Measurement("issued", (ISSUED,), _is_ours, issued),
        Measurement(
            "tokens", throughput_kinds(scale.load), _is_ours, _of_tokens(throughput), 2, False
        ),
        Measurement("mixed", mixed_kinds(), _is_ours, _of_tokens(mixed), 3, False),
        Measurement("expiry", expiry_kinds(), _is_ours, _of_tokens(expiry), 1, False),
        Measurement("ports", (RECONCILED, ALLOCATED), _is_ours, ports, 3, False),
        Measurement("ssh", SSH_KINDS, _is_ours, ssh, 3, False),
        Measurement("keystone", KEYSTONE_KINDS, _is_ours, keystone, 3, False),
        Measurement("service_tokens", SERVICE_TOKEN_KINDS, _is_ours, service_tokens, 3, False),
    ]


def _is_plain(subject: Subject) -> bool:
    return subject.plain


def _has_tls(subject: Subject) -> bool:
    return subject.tls


def _is_ours(subject: Subject) -> bool:
    return isinstance(subject, Daemon)


def _of_tokens(
    measure: Callable[[TokenScale, Databases], Found],
) -> Callable[[Subject, Scale], Round]:
    """A round of a measurement that makes cells of its own."""

    def round_of(subject: Subject, scale: Scale) -> Round:
        assert isinstance(subject, Daemon)
        return measure(scale.load, subject.databases())

    return round_of


def warm_up(measurement: Measurement, subject: Subject, scale: Scale) -> None:
    """Starts what the measurement needs and lets it run once, unmeasured."""
    if measurement.warms:
        short = evolve(scale, keystrokes=scale.keystrokes // 4, seconds=scale.seconds / 4, keys=2)
        measurement.round(subject, short)


def statistics_of(rounds: list[Mapping[str, float]]) -> dict[str, tuple[float, ...]]:
    """Each statistic's value in each round."""
    return {name: tuple(each[name] for each in rounds) for name in rounds[0]}

"""The measurements: one round of each on one subject."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from attrs import evolve, frozen

from bench.cells import KEY, Databases
from bench.figures import Kind, percentiles
from bench.processes import Client, ask, memory
from bench.subjects import Daemon, Subject
from bench.tokens import FULL as LOAD_FULL
from bench.tokens import QUICK as LOAD_QUICK
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


@frozen
class Scale:
    """How long a run is; every loop is bounded in count and time.

    :ivar rounds: of each measurement, unless it says otherwise.
    :ivar keystrokes: a round.
    :ivar seconds: that the keystrokes or the flood of a round may take.
    :ivar typists: sessions that type at once.
    :ivar keys: of each of them in a round, one every ``PERIOD``.
    :ivar opens: sessions that are opened in a round.
    :ivar warm: sessions that are open before idle ones are counted.
    :ivar idle: numbers of idle sessions, ascending.
    :ivar idle_forks: the largest of them for a peer with a process per session.
    :ivar tokens: console URLs that are issued in a round.
    :ivar load: of the measurements of tokens.
    """

    rounds: int = 5
    keystrokes: int = 4000
    seconds: float = 1.0
    typists: int = 200
    keys: int = 20
    opens: int = 300
    warm: int = 50
    idle: tuple[int, ...] = (100, 1000)
    idle_forks: int = 100
    tokens: int = 400
    load: TokenScale = LOAD_FULL

    @property
    def consoles(self) -> int:
        """Quiet consoles that the backend needs."""
        return max(self.opens, self.tokens, self.warm + self.idle[-1])


FULL = Scale()
QUICK = Scale(
    rounds=1,
    keystrokes=200,
    seconds=0.2,
    typists=20,
    keys=2,
    opens=20,
    warm=5,
    idle=(20, 40),
    idle_forks=20,
    tokens=20,
    load=LOAD_QUICK,
)
PERIOD = 0.1
"""Seconds between two keys of a typist."""

OPENING_AT_ONCE = 16
ISSUING_AT_ONCE = 8

KEYSTROKE = Kind("keystroke", "keystroke and its echo", "µs", False, "p50")
KEYSTROKE_TLS = Kind("keystroke_tls", "keystroke over TLS", "µs", False, "p50")
TYPING = Kind("typing", "keystroke while many type", "µs", False, "p99")
TYPING_FLOODED = Kind(
    "typing_flooded", "keystroke while many type, beside a flood", "µs", False, "p99"
)
BULK = Kind("bulk", "bulk output", "MB/s", True)
OPENED = Kind("opened", "sessions opened", "1/s", True)
ISSUED = Kind("issued", "console URLs issued", "1/s", True)


def idle_kind(count: int) -> Kind:
    """Memory with that many idle sessions."""
    return Kind(f"idle_{count}", f"memory per idle session of {count}", "KiB", False)


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
    answer = ask(
        action="keystroke",
        endpoints=[subject.endpoint("echo", tls=tls)],
        count=scale.keystrokes,
        seconds=scale.seconds,
    )
    found = percentiles([nanoseconds / 1000 for nanoseconds in answer["nanoseconds"]])
    return {(KEYSTROKE_TLS if tls else KEYSTROKE).name: found}


def keystroke_tls(subject: Subject, scale: Scale) -> Round:
    """The same over TLS."""
    return keystroke(subject, scale, tls=True)


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


def opened(subject: Subject, scale: Scale) -> Round:
    """Sessions are opened, some at a time, and all held until the last one is open."""
    with Client(
        action="open", endpoints=subject.many("quiet", scale.opens), at_once=OPENING_AT_ONCE
    ) as client:
        answer = client.result()
    # A console has one writer: the next round finds every one of them free.
    subject.ground.backend.drain()
    return {OPENED.name: {"value": answer["opened"] / answer["seconds"]}}


def idle(subject: Subject, scale: Scale) -> Round:
    """Sessions are opened in a fresh process and left alone."""
    most = scale.idle_forks if subject.forks else scale.idle[-1]
    counts = [count for count in scale.idle if count <= most]
    found = {}
    with subject.idle(scale.warm + counts[-1]) as fresh:
        # The first sessions pay for what is made once, and use up what the start has freed.
        warm = Client(
            action="open", endpoints=fresh.endpoints[: scale.warm], at_once=OPENING_AT_ONCE
        )
        clients = [warm]
        try:
            warm.result()
            before, opened_so_far = memory(fresh.keeper), 0
            for count in counts:
                more = fresh.endpoints[scale.warm :][opened_so_far:count]
                clients.append(Client(action="open", endpoints=more, at_once=OPENING_AT_ONCE))
                clients[-1].result()
                opened_so_far = count
                growth = memory(fresh.keeper) - before
                found[idle_kind(count).name] = {"value": growth / count / 1024}
        finally:
            for client in clients:
                client.end()
    subject.ground.backend.drain()
    return found


def issued(subject: Subject, scale: Scale) -> Round:
    """Console URLs are asked for over some connections at a time."""
    assert isinstance(subject, Daemon)
    port, paths = subject.api(scale.tokens)
    answer = ask(action="issue", ports=[port], key=KEY, paths=paths, at_once=ISSUING_AT_ONCE)
    return {ISSUED.name: {"value": len(answer["urls"]) / answer["seconds"]}}


def measurements(scale: Scale) -> list[Measurement]:
    """All of them, in the order of the table."""
    return [
        Measurement("keystroke", (KEYSTROKE,), lambda _: True, keystroke),
        Measurement("keystroke_tls", (KEYSTROKE_TLS,), lambda s: s.tls, keystroke_tls),
        Measurement("typing", (TYPING,), lambda _: True, typing, rounds=3),
        Measurement("typing_flooded", (TYPING_FLOODED,), lambda _: True, typing_flooded, rounds=3),
        Measurement("bulk", (BULK,), lambda _: True, bulk),
        Measurement(
            "idle",
            tuple(idle_kind(count) for count in scale.idle),
            lambda s: s.relays,
            idle,
            rounds=2,
            warms=False,
        ),
        Measurement("opened", (OPENED,), lambda _: True, opened),
        Measurement("issued", (ISSUED,), _is_ours, issued),
        Measurement(
            "tokens", throughput_kinds(scale.load), _is_ours, _of_tokens(throughput), 2, False
        ),
        Measurement("mixed", mixed_kinds(), _is_ours, _of_tokens(mixed), 3, False),
        Measurement("expiry", expiry_kinds(), _is_ours, _of_tokens(expiry), 1, False),
    ]


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

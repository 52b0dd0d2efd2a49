"""Which replicas have been silent for too long, by the own clock alone."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import define, field

from consoled.leasing.values import Peer


@define
class PeerWatch:
    """Remembers since when each peer has shown the same beat.

    No timestamp of another replica is ever looked at: a beat that does not change for
    longer than a beat is valid has lost its validity on every clock.

    :ivar silence: seconds without a change after which a peer counts as silent.
    """

    silence: float
    _since: dict[Peer, float] = field(factory=dict, init=False)

    @property
    def sees_any(self) -> bool:
        """Whether the last look has shown any peer."""
        return bool(self._since)

    def saw(self, peers: Iterable[Peer], now: float) -> None:
        """What one look at the table has shown; others are forgotten.

        :param now: a moment *after* the answer has come, so that a slow answer makes the
            silence look shorter, never longer.
        """
        self._since = {peer: self._since.get(peer, now) for peer in peers}

    def silent(self, now: float) -> list[Peer]:
        """The peers that may be declared dead, each with the beat that did not change."""
        return [peer for peer, since in self._since.items() if now - since > self.silence]

"""What is asked of a figure, and whether that is met: pure rules."""

from __future__ import annotations

from attrs import frozen


@frozen
class Bar:
    """A bound of one of consoled's figures.

    :ivar limit: in the figure's unit, or a ratio where it is set against another figure.
    :ivar statistic: which one of the figure's it is for.
    :ivar peer: whose figure it is set against; None for no one's.
    :ivar beside: the name of another kind, whose figure of consoled it is set against.
    """

    limit: float
    statistic: str = "value"
    peer: str | None = None
    beside: str | None = None

    @property
    def is_ratio(self) -> bool:
        """Whether it is set against another figure."""
        return self.peer is not None or self.beside is not None

    def text(self, more_is_better: bool) -> str:
        """For people: ``<= 0.75x websockify``.

        :param more_is_better: of the figure.
        """
        sign = ">=" if more_is_better else "<="
        if not self.is_ratio:
            return f"{sign} {self.limit:g}"
        return f"{sign} {self.limit:g}x {self.peer or self.beside}"

    def met(self, ours: float, other: float | None, more_is_better: bool) -> bool | None:
        """Whether a figure meets it; None where what it is set against was not measured.

        :param other: what it is set against.
        """
        bound = self.limit
        if self.is_ratio:
            if other is None:
                return None
            bound *= other
        return ours >= bound if more_is_better else ours <= bound

"""How many connections may go over one route at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from attrs import define, field

from consoled.errors import Unavailable


@define
class Places:
    """Counts them.

    :ivar most: further ones are refused.
    """

    most: int
    taken: int = field(default=0, init=False)

    @contextmanager
    def one(self) -> Iterator[None]:
        """A place, until the end of the block.

        :raises consoled.errors.Unavailable: none is free.
        """
        self.take()
        try:
            yield
        finally:
            self.free()

    def take(self) -> None:
        """Takes a place.

        :raises consoled.errors.Unavailable: none is free.
        """
        if self.taken >= self.most:
            raise Unavailable(
                "Too many connections to instances are open at this moment. Try again in a while."
            )
        self.taken += 1

    def free(self) -> None:
        """Gives one back."""
        self.taken -= 1

"""What is started and stopped, as a context: everything of the laboratory that runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Started(ABC):
    """Runs from the beginning of a ``with`` to its end."""

    @abstractmethod
    def start(self) -> Self:
        """Returns when it serves.

        :raises tools.lab.errors.LabError: why it does not.
        """

    @abstractmethod
    def stop(self) -> object:
        """Ends it; once more is no error."""

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

"""What ends a benchmark early, in words for the person who runs it."""


class BenchError(Exception):
    """The text says what happened, and what to do about it."""

"""What goes wrong in the lab, in words for the person who runs it."""


class LabError(Exception):
    """The text says what happened, to what, and what to do about it."""

"""For all tests: a property is judged by what it says, never by the time that it takes."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

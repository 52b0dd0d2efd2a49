"""Which options of recordings contradict others."""

from __future__ import annotations

from consoled.options.reading import Reader
from consoled.settings import Settings


def refuse_recording_contradictions(reader: Reader, settings: Settings) -> None:
    """Says nothing if the archive of recordings has what it needs.

    :raises consoled.errors.ConfigError: naming the option that needs another one.
    """
    if settings.recording.archive != "glance":
        return
    if settings.api.auth_strategy != "keystone":
        reader.fail(
            "recording",
            "archive",
            "needs users' tokens of Keystone, with which Glance is asked; set [api] auth_strategy"
            " to keystone",
        )
    if settings.service_user.token_secret_file is None:
        reader.fail(
            "recording",
            "archive",
            "needs something to encrypt users' tokens with, which are kept until the upload; set"
            " [service_user] token_secret_file",
        )

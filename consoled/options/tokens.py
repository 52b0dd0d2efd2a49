"""Which options of the token backends contradict each other."""

from __future__ import annotations

from consoled.options.reading import Reader
from consoled.settings import Settings
from consoled.tokens.objects import NOVA_TEXT_LENGTH


def refuse_token_contradictions(reader: Reader, settings: Settings) -> None:
    """Says nothing if the token backend has what it needs.

    :raises consoled.errors.ConfigError: naming the option that needs another one, or that
        the backend cannot obey.
    """
    backend = settings.default.console_tokens_backend
    if backend == "nova":
        _check_nova(reader, settings)
    if backend == "memcached" and not settings.cache.memcache_servers:
        reader.fail(
            "DEFAULT",
            "console_tokens_backend",
            "needs servers; set [cache] memcache_servers to a list of host:port",
        )
    if settings.workarounds.enable_consoleauth and not settings.cache.memcache_servers:
        reader.fail(
            "workarounds",
            "enable_consoleauth",
            "needs the servers of the old tokens; set [cache] memcache_servers as nova.conf has it",
        )
    if settings.consoleauth.single_use:
        _check_single_use(reader, settings)


def _check_nova(reader: Reader, settings: Settings) -> None:
    if settings.nova.connection is None:
        reader.fail(
            "DEFAULT",
            "console_tokens_backend",
            "needs nova's cell database; set [nova] connection to its SQLAlchemy URL",
        )
    if len(settings.serial_console.base_url) > NOVA_TEXT_LENGTH:
        reader.fail(
            "serial_console",
            "base_url",
            f"has more than {NOVA_TEXT_LENGTH} characters, which is all that nova's table holds"
            " (console_tokens_backend = nova); give a shorter one",
        )


def _check_single_use(reader: Reader, settings: Settings) -> None:
    backend = settings.default.console_tokens_backend
    if backend != "database":
        reader.fail(
            "consoleauth",
            "single_use",
            f"cannot be kept with console_tokens_backend = {backend}, which does not note that a"
            " token was used; set it to false, or use the database backend",
        )
    if settings.workarounds.enable_consoleauth:
        reader.fail(
            "consoleauth",
            "single_use",
            "cannot be kept for the tokens of [workarounds] enable_consoleauth, which open again"
            " and again; set one of the two to false",
        )

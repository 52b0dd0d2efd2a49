"""What is looked at before a start: the configuration's files, and the folder for the state."""

from __future__ import annotations

from pathlib import Path

from consoled.auth import parts as auth_parts
from consoled.auth.policy import PolicyEnforcer
from consoled.compute.static import StaticDriver
from consoled.db.engine import make_engine
from consoled.db.foreign import refuse_readable_nova
from consoled.errors import ConfigError
from consoled.openstack import parts as openstack_parts
from consoled.proxy.paths import Layout
from consoled.reaching.parts import RouteFiles
from consoled.recording.parts import recording_key
from consoled.replicas.dialling import authorities
from consoled.settings import Settings
from consoled.tokens.backends import check_backend
from consoled.workers import InlineWorker


def check(settings: Settings) -> None:
    """Reads everything that a start reads, and writes nothing (``--check-config``).

    :raises consoled.errors.ConfigError: what cannot be used.
    """
    if settings.default.driver == "static":
        StaticDriver.open(settings.static.inventory, InlineWorker())
    auth_parts.check(settings)
    PolicyEnforcer(InlineWorker(), settings.oslo_policy.policy_file)
    refuse_readable_nova(make_engine(settings.database.connection))
    check_backend(settings)
    recording_key(settings)
    RouteFiles.read(settings.ssh_proxy)
    check_secrets(settings)
    Layout.of(settings.serial_console.base_url)


def check_secrets(settings: Settings) -> None:
    """Reads the files whose contents are used only after the first write of a start.

    :raises consoled.errors.ConfigError: what cannot be used.
    """
    openstack_parts.check(settings)
    if settings.proxy.replica_ca is not None:
        authorities(settings.proxy.replica_ca, "[proxy] replica_ca")


def make_state_folder(path: Path) -> None:
    """Makes the folder for everything that the daemon writes, where it is missing.

    :raises consoled.errors.ConfigError: it cannot be made.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"[DEFAULT] state_path {path} cannot be made: {error.strerror}; "
            "name a folder that this user may write"
        ) from error

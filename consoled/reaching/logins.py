"""How to log in at a node: user, keys and accepted host keys, from groups and from files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import field, frozen

from consoled.errors import ConfigError
from consoled.reaching.privatefile import read_private
from consoled.reaching.secrets import SecretBox
from consoled.reaching.values import Traits
from consoled.settings import SSHProxy
from consoled.transports.ssh.host_keys import HostKeys
from consoled.transports.ssh.values import Keys, Login, NoKeys

if TYPE_CHECKING:
    from twisted.conch.ssh.keys import Key


@frozen
class SealedKey:
    """A private key out of the database.

    :ivar private_key: encrypted, as the passphrase is, if it has one.
    """

    private_key: str = field(repr=False)
    passphrase: str | None = field(repr=False)
    _box: SecretBox = field(eq=False, repr=False)

    def load(self) -> Sequence[Key]:
        """The key.

        :raises consoled.errors.ConfigError: it cannot be decrypted or read.
        """
        text = self._box.unseal(self.private_key)
        return load_text(text, _passphrase(self._box, self.passphrase))


@frozen
class NamedKey:
    """A private key in ``[ssh_proxy] keys_dir``, read for each login.

    :ivar name: of the file, without a path.
    :ivar passphrase: encrypted, or None.
    """

    folder: Path
    name: str
    passphrase: str | None = field(repr=False)
    _box: SecretBox | None = field(eq=False, repr=False)

    def load(self) -> Sequence[Key]:
        """The key.

        :raises consoled.errors.ConfigError: there is none that can be used.
        """
        return load_named(self.folder, self.name, _passphrase(self._box, self.passphrase))


@frozen
class Unusable:
    """A key that could be used if the configuration were another.

    :ivar reason: what is missing.
    """

    reason: str

    def load(self) -> Sequence[Key]:
        """None.

        :raises consoled.errors.ConfigError: always.
        """
        raise ConfigError(self.reason)


@frozen
class Logins:
    """What the daemon logs in with.

    :ivar keys_dir: the folder of the keys that groups name, or None.
    :ivar box: decrypts what is in the database, or None.
    :ivar agent: the socket of an agent, for those who have no key; empty is none.
    """

    keys_dir: Path | None = None
    box: SecretBox | None = None
    agent: str = ""

    def of(self, traits: Traits) -> Login | None:
        """The login at the members of a group; None where it lacks a user's name."""
        if traits.user_name is None:
            return None
        keys = self._keys(traits)
        agent = self.agent if isinstance(keys, NoKeys) else ""
        known = HostKeys.parse("\n".join(traits.known_hosts))
        return Login(traits.user_name, keys, known, agent)

    def _keys(self, traits: Traits) -> Keys:
        if traits.private_key is not None:
            if self.box is None:
                return Unusable(
                    f"the private key of node group {traits.name} is encrypted, and "
                    "[ssh_proxy] secret_key_file is not set"
                )
            return SealedKey(traits.private_key, traits.passphrase, self.box)
        if traits.key_file is not None:
            if self.keys_dir is None:
                return Unusable(
                    f"node group {traits.name} names the key {traits.key_file}, and "
                    "[ssh_proxy] keys_dir is not set"
                )
            return NamedKey(self.keys_dir, traits.key_file, traits.passphrase, self.box)
        return NoKeys()


@frozen
class FileKey:
    """``[ssh_proxy] key_file``, read for each login."""

    path: Path
    passphrase: str = field(default="", repr=False)

    def load(self) -> Sequence[Key]:
        """The key.

        :raises consoled.errors.ConfigError: it cannot be used.
        """
        return load_file(self.path, self.passphrase)


def login_of_nodes(group: SSHProxy, agent: str) -> tuple[Keys, HostKeys, str]:
    """What ``[ssh_proxy] nodes`` are logged in to with: keys, host keys, an agent's socket.

    :raises consoled.errors.ConfigError: a file cannot be used.
    """
    known = HostKeys()
    if group.known_hosts is not None:
        known = _known_hosts(group.known_hosts)
    if group.key_file is None:
        return NoKeys(), known, agent
    passphrase = ""
    if group.key_passphrase_file is not None:
        where = f"[ssh_proxy] key_passphrase_file {group.key_passphrase_file}"
        data = read_private(where, group.key_passphrase_file)
        passphrase = data.decode("utf-8", "surrogateescape").rstrip("\r\n")
    keys = FileKey(group.key_file, passphrase)
    keys.load()
    return keys, known, ""


def load_named(folder: Path, name: str, passphrase: str) -> Sequence[Key]:
    """The private key of that name in the folder.

    :raises consoled.errors.ConfigError: there is none that can be used; the folder is not named.
    """
    try:
        path = (folder / name).resolve(strict=True)
        inside = path.is_relative_to(folder.resolve(strict=True))
    except OSError:
        inside = False
    if not inside or not path.is_file():
        raise ConfigError(f"[ssh_proxy] keys_dir has no key {name}")
    return load_file(path, passphrase, f"the key {name} in [ssh_proxy] keys_dir")


def load_file(path: Path, passphrase: str, where: str | None = None) -> Sequence[Key]:
    """The private key in a file that only its owner has access to.

    :param where: names it in the error; by default its path.
    :raises consoled.errors.ConfigError: it cannot be used, and why.
    """
    from consoled.transports.ssh.keys import KeyFiles

    read_private(where or f"the SSH key {path}", path)
    return KeyFiles((path,), passphrase).load()


def load_text(text: str, passphrase: str) -> Sequence[Key]:
    """The private key of a text.

    :raises consoled.errors.ConfigError: it cannot be used; nothing of it is shown.
    """
    # Late: Conch takes longer to import than a cell without proxies has use for it.
    from consoled.transports.ssh.keys import KeyText

    return KeyText(text.encode("utf-8", "surrogateescape"), passphrase).load()


def _known_hosts(path: Path) -> HostKeys:
    where = f"[ssh_proxy] known_hosts {path}"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{where} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{where} is not UTF-8 text") from None
    try:
        found = HostKeys.parse(text)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    if not found.keys:
        raise ConfigError(
            f"{where} holds no host key, so no node would be believed; "
            "`consolectl ssh scan HOST` shows what to put there"
        )
    return found


def _passphrase(box: SecretBox | None, sealed: str | None) -> str:
    if sealed is None:
        return ""
    if box is None:
        raise ConfigError("a passphrase is encrypted, and [ssh_proxy] secret_key_file is not set")
    return box.unseal(sealed)

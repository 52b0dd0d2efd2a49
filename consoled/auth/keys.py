"""The keys file of ``[api] auth_strategy = static``: its form, its privacy, its first key.

::

    - key: a long random text         # `openssl rand -base64 32` makes one
      user_id: alice
      project_id: demo                # optional: without it a key of no project
      roles: [member]

A key leaves this module as its SHA-256 only, and no error quotes one.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shlex
import stat
from collections.abc import Mapping
from pathlib import Path

from consoled.errors import ConfigError
from consoled.model import Caller
from consoled.yamlfile import MAX_BYTES, Yaml, compose, decode

MIN_KEY = 16
"""The fewest characters of a key."""

MAX_ROLES = 64
"""The most roles of one key."""

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_NEW = """\
# The keys of consoled's REST API ([api] auth_strategy = static), sent as
# X-Auth-Token. SIGHUP reads this file again.
- key: {key}
  user_id: admin
  project_id: admin
  roles: [admin]
"""

Keys = Mapping[bytes, Caller]
"""Who calls with the key of that digest."""


def digest(key: bytes) -> bytes:
    """The SHA-256 by which a key is known."""
    return hashlib.sha256(key).digest()


def parse_keys(text: str, source: str) -> Keys:
    """The callers of a keys file.

    :param text: YAML.
    :param source: the file's name, for errors.
    :raises consoled.errors.ConfigError: with the line of the first thing that is wrong.
    """
    document = compose(text, source, secret=True)
    if document is None or document.is_null:
        raise ConfigError(f"{source}: this keys file holds no keys; remove it to get a new one")
    keys: dict[bytes, Caller] = {}
    lines: dict[bytes, int] = {}
    for node in document.items("the keys file"):
        fields = node.mapping("this entry", ["key", "user_id", "roles"], ["project_id"])
        known = digest(_key(fields["key"]))
        if known in keys:
            fields["key"].fail(f"key is the same as on line {lines[known]}; each has its own")
        lines[known] = fields["key"].line
        project = fields.get("project_id")
        keys[known] = Caller(
            user_id=fields["user_id"].text("user_id"),
            project_id=None if project is None or project.is_null else project.text("project_id"),
            roles=_roles(fields["roles"]),
        )
    if not keys:
        document.fail("this keys file holds no keys; remove it to get a new one")
    return keys


def read_keys(path: Path) -> Keys:
    """The keys of a file that only its owner has access to; it blocks.

    :raises consoled.errors.ConfigError: the file cannot be used, or others may read it.
    """
    try:
        with path.open("rb") as file:
            # Of the open file: the name could lead elsewhere by now.
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & _OTHERS:
                raise ConfigError(
                    f"{path}: others than its owner have access to this keys file (mode"
                    f" {mode:04o}); run: chmod 600 {shlex.quote(str(path))}"
                )
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{path}: cannot read this keys file: {reason}") from None
    return parse_keys(decode(data, str(path), "keys file"), str(path))


def ensure_keys_file(path: Path) -> bool:
    """Makes the keys file with one administrator's key, where there is none; it blocks.

    The file appears with its whole content or not at all, and never replaces another.

    :returns: whether it was made; tell the operator its path, never its content.
    :raises consoled.errors.ConfigError: it cannot be made.
    """
    if os.path.lexists(path):
        return False
    text = _NEW.format(key=secrets.token_urlsafe(32))
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_new(temporary, text)
        try:
            # link() refuses a name that exists; rename() would replace it.
            path.hardlink_to(temporary)
        finally:
            temporary.unlink()
        _sync_folder(path.parent)
    except FileExistsError:
        return False
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"{path}: cannot make this keys file: {reason}; make its folder writable for this"
            " user, or set [api] keys_file or [DEFAULT] state_path to another place"
        ) from None
    return True


def _write_new(path: Path, text: str) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(handle)


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _key(node: Yaml) -> bytes:
    key = node.text("key")
    if len(key) < MIN_KEY:
        node.fail(f"key is shorter than {MIN_KEY} characters; `openssl rand -base64 32` makes one")
    if not key.isascii() or " " in key:
        node.fail("key holds a space or a character that is not ASCII; a header cannot carry it")
    return key.encode("ascii")


def _roles(node: Yaml) -> frozenset[str]:
    roles: set[str] = set()
    for index, item in enumerate(node.items("roles")):
        if index >= MAX_ROLES:
            item.fail(f"an entry has at most {MAX_ROLES} roles")
        roles.add(item.text("role").lower())
    if not roles:
        node.fail("roles is empty; give at least one of admin, member, reader, service")
    return frozenset(roles)

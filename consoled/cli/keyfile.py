"""An administrator's key out of the daemon's own keys file, for commands on its host."""

from __future__ import annotations

from pathlib import Path

from consoled.auth.keys import digest, read_keys
from consoled.errors import ConfigError
from consoled.yamlfile import compose, read_text

ADMIN = "admin"


def admin_key(path: Path) -> str:
    """The first key in the file whose holder is an administrator.

    :param path: ``[api] keys_file``.
    :raises consoled.errors.ConfigError: the file cannot be used, or holds no such key.
    """
    callers = read_keys(path)
    document = compose(read_text(path, "keys file"), str(path), secret=True)
    for node in document.items("the keys file") if document else ():
        fields = node.mapping("this entry", ["key", "user_id", "roles"], ["project_id"])
        key = fields["key"].text("key")
        caller = callers.get(digest(key.encode("utf-8")))
        if caller is not None and ADMIN in caller.roles:
            return key
    raise ConfigError(f"{path}: no key in this file has the role {ADMIN}")

"""Authentication without Keystone: keys from a file, sent as ``X-Auth-Token``."""

from __future__ import annotations

from pathlib import Path

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.web.http_headers import Headers

from consoled.auth.keys import Keys, digest, read_keys
from consoled.errors import Unauthorized
from consoled.interfaces import Worker
from consoled.model import Caller

HEADER = "X-Auth-Token"


@define
class StaticIdentity:
    """Knows callers by the keys that were last read (an interfaces.Identity).

    It holds digests only. Looking one up tells nothing of the key by its time:
    who guesses cannot choose the digest.

    :ivar path: ``[api] keys_file``.
    :ivar worker: where a reload reads and parses.
    """

    path: Path
    worker: Worker
    _keys: Keys = field(factory=dict, repr=False)

    @classmethod
    def open(cls, path: Path, worker: Worker) -> StaticIdentity:
        """An identity with its keys read; it blocks, before the reactor runs.

        :raises consoled.errors.ConfigError: the file cannot be used, or others may read it.
        """
        return cls(path, worker, read_keys(path))

    def authenticate(self, headers: Headers) -> Deferred[Caller]:
        """The caller to whom the key belongs.

        :raises consoled.errors.Unauthorized: no key, two keys, or one that is not known.
        """
        sent = headers.getRawHeaders(HEADER.encode("ascii"), [])
        if not sent:
            return fail(Unauthorized(f"This request needs a key in its {HEADER} header."))
        if len(sent) > 1:
            return fail(Unauthorized(f"This request has more than one {HEADER} header; send one."))
        caller = self._keys.get(digest(sent[0].strip()))
        if caller is None:
            return fail(Unauthorized(f"The key in the {HEADER} header is not known here."))
        return succeed(caller)

    def reload(self) -> Deferred[None]:
        """Reads the file again; a bad one leaves the old keys in force.

        :raises consoled.errors.ConfigError: why the old ones stay.
        """
        return self.worker.run(read_keys, self.path).addCallback(self._swap)

    def _swap(self, keys: Keys) -> None:
        self._keys = keys

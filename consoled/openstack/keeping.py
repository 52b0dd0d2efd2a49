"""Users' tokens that an operation must outlive, kept encrypted until it ends."""

from __future__ import annotations

import json

from attrs import frozen
from twisted.internet.defer import Deferred

from consoled.db import kept_tokens as rows
from consoled.interfaces import Database
from consoled.openstack.values import UserToken
from consoled.reaching.secrets import SecretBox


@frozen
class TokenKeeper:
    """Keeps a token in the cell database, so that another daemon can end the operation, too.

    :ivar box: encrypts with the keys of ``[service_user] token_secret_file``.
    """

    database: Database
    box: SecretBox

    def keep(self, operation: str, user: UserToken, seconds: float) -> Deferred[None]:
        """Keeps the token for one operation, instead of what is kept for it now.

        :param operation: its name, up to 255 characters: ``archive:SESSION``, say.
        :param seconds: after which it is forgotten whatever becomes of the operation.
        :raises consoled.errors.Unavailable: the database is away.
        """
        # The operation is in what is encrypted: a row of one operation is of no use to another.
        clear = json.dumps([operation, user.value, user.project_id, user.user_id])
        return self.database.run(rows.keep, operation, self.box.seal(clear), round(seconds))

    def find(self, operation: str) -> Deferred[UserToken | None]:
        """The token of an operation; None where none is kept, or it was for too long.

        :raises consoled.errors.ConfigError: it was encrypted with a key that is not in the file.
        :raises consoled.errors.Unavailable: the database is away.
        """
        return self.database.read(rows.find, operation).addCallback(self._open, operation)

    def forget(self, operation: str) -> Deferred[None]:
        """The operation has ended.

        :raises consoled.errors.Unavailable: the database is away.
        """
        return self.database.run(rows.forget, operation)

    def forget_all(self, begin: str) -> Deferred[None]:
        """All operations whose names begin so have ended.

        :raises consoled.errors.Unavailable: the database is away.
        """
        return self.database.run(rows.forget_all, begin)

    def reap(self, most: int) -> Deferred[int]:
        """Deletes tokens that were kept for as long as they may.

        :param most: rows at a time.
        :returns: how many there were.
        :raises consoled.errors.Unavailable: the database is away.
        """
        return self.database.run(rows.delete_expired, most)

    def _open(self, sealed: str | None, operation: str) -> UserToken | None:
        if sealed is None:
            return None
        named, value, project_id, user_id = json.loads(self.box.unseal(sealed))
        return UserToken(value, project_id, user_id) if named == operation else None

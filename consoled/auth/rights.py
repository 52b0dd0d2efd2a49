"""What a user may do now, by Keystone's word, asked with consoled's own credentials."""

from __future__ import annotations

from typing import Any

from attrs import define, field
from keystoneauth1.adapter import Adapter
from keystoneauth1.exceptions import ClientException, NotFound
from keystoneauth1.loading import load_auth_from_conf_options
from keystoneauth1.loading.session import Session
from oslo_config import cfg

from consoled.errors import Unavailable

NOTHING: frozenset[str] = frozenset()


@define(eq=False)
class KeystoneRights:
    """Asks for users, projects and role assignments. Its calls block: a worker makes them.

    :ivar conf: has ``[keystone_authtoken]``, whose user may read those.
    """

    conf: cfg.ConfigOpts
    _keystone: Adapter = field(init=False, repr=False)

    @_keystone.default
    def _adapter(self) -> Adapter:
        section = "keystone_authtoken"
        group = self.conf[section]
        auth = load_auth_from_conf_options(self.conf, section)
        session = Session().load_from_options(
            insecure=group.insecure,
            cacert=group.cafile,
            cert=group.certfile,
            key=group.keyfile,
            timeout=group.http_connect_timeout,
            auth=auth,
        )
        return Adapter(
            session,
            service_type="identity",
            interface=group.interface,
            region_name=group.region_name,
            min_version="3",
            max_version="3.latest",
        )

    def __call__(self, user_id: str, project_id: str | None) -> frozenset[str]:
        """The roles that the user has in the project now; none where one of them is gone or
        disabled.

        :param project_id: None is in no project, where nobody has a role (decisions/0051).
        :raises consoled.errors.Unavailable: Keystone does not answer, or not to us.
        """
        if project_id is None:
            return NOTHING
        try:
            if not self._get(f"/users/{user_id}")["user"]["enabled"]:
                return NOTHING
            if not self._get(f"/projects/{project_id}")["project"]["enabled"]:
                return NOTHING
            found = self._get(
                f"/role_assignments?user.id={user_id}&scope.project.id={project_id}"
                "&effective&include_names=true"
            )
        except NotFound:
            return NOTHING
        except ClientException as error:
            raise Unavailable(f"Keystone does not tell a user's rights: {error}") from error
        return frozenset(one["role"]["name"].lower() for one in found["role_assignments"])

    def _get(self, path: str) -> Any:
        return self._keystone.get(path).json()

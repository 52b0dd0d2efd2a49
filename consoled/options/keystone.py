"""``[keystone_authtoken]``: the section that keystonemiddleware reads for itself.

Its options are keystonemiddleware's and keystoneauth's, as every OpenStack service has them.
consoled checks that there is nothing else in it and hands it on.
"""

from __future__ import annotations

from keystoneauth1.exceptions import AuthPluginException, NoMatchingPlugin
from keystoneauth1.loading import (
    get_auth_plugin_conf_options,
    get_plugin_loader,
    load_auth_from_conf_options,
)
from keystonemiddleware.opts import list_auth_token_opts
from oslo_config import cfg

SECTION = "keystone_authtoken"


def options(auth_type: str) -> list[cfg.Opt]:
    """All options that the section may have.

    :param auth_type: keystoneauth's word for how consoled itself logs in.
    :raises ValueError: keystoneauth knows no such type.
    """
    try:
        plugin = get_auth_plugin_conf_options(get_plugin_loader(auth_type))
    except NoMatchingPlugin:
        raise ValueError("is not a way to log in that keystoneauth has; give password") from None
    own = [option for _, found in list_auth_token_opts() for option in found]
    return [*own, *plugin]


def keys(auth_type: str) -> list[str]:
    """What may stand before a ``=`` in the section, old names included.

    :raises ValueError: keystoneauth knows no such type.
    """
    found: dict[str, None] = {}
    for option in options(auth_type):
        names = [option.dest, *(old.name for old in option.deprecated_opts if old.name)]
        found |= dict.fromkeys(name.replace("-", "_") for name in names)
    return list(found)


def prepare(conf: cfg.ConfigOpts, auth_type: str) -> None:
    """Registers the options, and tries out whether consoled can log in with them.

    Keystone is not asked. A service's word for an expired token counts only where the service
    has one of ``service_token_roles``, which nova and others have as a default that can be
    turned off.

    :raises ValueError: something is missing, or is not what it must be.
    """
    conf.register_opts(options(auth_type), group=SECTION)
    conf.set_default("service_token_roles_required", True, group=SECTION)
    for name in ("auth_type", "auth_url"):
        if not getattr(conf[SECTION], name, None):
            raise ValueError(f"needs [{SECTION}] {name}")
    try:
        load_auth_from_conf_options(conf, SECTION)
        # oslo.config looks at a value when it is asked for.
        for option in options(auth_type):
            getattr(conf[SECTION], option.dest)
    except AuthPluginException as error:
        raise ValueError(f"cannot be used: [{SECTION}]: {' '.join(str(error).split())}") from None
    except cfg.ConfigFileValueError as error:
        # Its words may quote the value.
        raise ValueError(f"cannot be used: [{SECTION}] has a value of the wrong kind") from error

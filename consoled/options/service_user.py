"""``[service_user]``: the options of it that are keystoneauth's, as every OpenStack service has
them (specification: use service token for long running tasks).

consoled's own options of the section are in :mod:`consoled.options.declared.openstack`.
"""

from __future__ import annotations

from collections.abc import Collection

from keystoneauth1.exceptions import AuthPluginException, NoMatchingPlugin
from keystoneauth1.identity.base import BaseIdentityPlugin
from keystoneauth1.loading import (
    get_auth_common_conf_options,
    get_auth_plugin_conf_options,
    get_plugin_loader,
    get_session_conf_options,
    load_auth_from_conf_options,
    register_auth_conf_options,
)
from oslo_config import cfg

from consoled.options.declared.openstack import SERVICE_USER

SECTION = "service_user"
OTHER = "keystone_authtoken"
"""The one section that ``auth_section`` may name."""


def _options(auth_type: str) -> list[cfg.Opt]:
    try:
        plugin = get_auth_plugin_conf_options(get_plugin_loader(auth_type))
    except NoMatchingPlugin:
        raise ValueError("is not a way to log in that keystoneauth has; give password") from None
    return [*get_auth_common_conf_options(), *plugin]


def keys(auth_type: str) -> list[str]:
    """What may stand before a ``=`` in the section besides our own options, old names included.

    :param auth_type: keystoneauth's word for how consoled logs in.
    :raises ValueError: keystoneauth knows no such type.
    """
    return [*_names(_options(auth_type)), *_names(get_session_conf_options())]


def _names(options: Collection[cfg.Opt]) -> list[str]:
    found: dict[str, None] = {}
    for option in options:
        names = [option.dest, *(old.name for old in option.deprecated_opts if old.name)]
        found |= dict.fromkeys(name.replace("-", "_") for name in names)
    return list(found)


def names_user(given: Collection[str]) -> bool:
    """Whether the keys that files have say who logs in, and not only how services are reached."""
    ours = [option.dest for option in SERVICE_USER]
    return not set(given) <= {*ours, *_names(get_session_conf_options())}


def prepare(conf: cfg.ConfigOpts) -> None:
    """Registers the options, and tries out whether consoled can log in with them.

    Keystone is not asked.

    :raises ValueError: a sentence that begins with a verb: what is missing, or wrong.
    """
    try:
        conf.register_opts(get_auth_common_conf_options(), group=SECTION)
        there = conf[SECTION].auth_section or SECTION
        if there not in (SECTION, OTHER):
            raise ValueError(f"has an auth_section that is neither empty nor {OTHER}")
        register_auth_conf_options(conf, SECTION)
        conf.register_opts(get_session_conf_options(), group=SECTION)
        if not conf[there].auth_type:
            raise ValueError(f"needs auth_type in [{there}]; give password")
        plugin = load_auth_from_conf_options(conf, SECTION)
        if not isinstance(plugin, BaseIdentityPlugin):
            raise ValueError("has an auth_type that does not log in at Keystone; give password")
        if not getattr(conf[there], "auth_url", True):
            raise ValueError(f"needs auth_url in [{there}], the address of Keystone")
        # oslo.config looks at a value when it is asked for.
        for option in _options(conf[there].auth_type):
            getattr(conf[there], option.dest, None)
        for option in get_session_conf_options():
            getattr(conf[SECTION], option.dest)
    except AuthPluginException as error:
        raise ValueError(f"cannot be used: {' '.join(str(error).split())}") from None
    except cfg.ConfigFileValueError as error:
        # Its words may quote the value.
        raise ValueError("has a value of the wrong kind") from error

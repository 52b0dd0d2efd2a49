"""How a rule is declared: its name, who may by default, what for, and which routes ask it."""

from __future__ import annotations

from oslo_policy import policy

from consoled.auth.policy.names import ADMIN, PROJECT_MEMBER, PROJECT_READER, SERVICE, Rule

PROJECT = "project"
"""The scope of a credential for which a rule may hold (Keystone: a token is of a project, of a
domain or of the system). Whoever has a role in a domain or in the system has it in no project."""

NOBODY = "!"
ADMINS = f"rule:{ADMIN}"
SERVICES = f"rule:{SERVICE} or rule:{ADMIN}"
MEMBERS = f"rule:{PROJECT_MEMBER} or rule:{ADMIN}"
READERS = f"rule:{PROJECT_READER} or rule:{ADMIN}"


def rule(name: Rule, who: str, what: str, *routes: str) -> policy.DocumentedRuleDefault:
    """A rule's default.

    :param who: may do it, as oslo.policy writes that.
    :param what: is done, for an operator who thinks of changing it.
    :param routes: that ask it, each as ``GET /v1/servers``.
    """
    return policy.DocumentedRuleDefault(
        name.value, who, what, [operation(route) for route in routes], scope_types=[PROJECT]
    )


def operation(route: str) -> policy.Operation:
    """A route as oslo.policy documents it."""
    method, path = route.split()
    return {"method": method, "path": path}

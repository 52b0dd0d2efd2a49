"""Who may do what: oslo.policy rules, their defaults, and the sample file made from them.

Keystone's roles, each of which holds the ones after it: ``admin``, ``manager``, ``member``,
``reader``; and ``service`` beside them. An admin acts on every project; a member or a reader on
their own one only, and so never on an instance that belongs to no project.

``[oslo_policy] policy_file`` overrides rules by name; all others keep their defaults. The file
is read again when it changes; a file that cannot be used is an error at start, and later leaves
the rules read before in force.

A new route needs a rule that names it, in the module of its subject, and a row in
tests/unit/test_every_route.py. ``python -m consoled.auth.policy`` writes etc/policy.yaml.sample.
"""

from consoled.auth.policy.defaults import DEFAULTS
from consoled.auth.policy.enforcer import PolicyEnforcer
from consoled.auth.policy.names import Rule
from consoled.auth.policy.people import implied_roles

__all__ = ["DEFAULTS", "PolicyEnforcer", "Rule", "implied_roles"]

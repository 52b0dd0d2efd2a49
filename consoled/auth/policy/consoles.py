"""Rules about consoles, and the tokens that open them."""

from __future__ import annotations

from consoled.auth.policy.declaring import ADMINS, MEMBERS, READERS, SERVICES, rule
from consoled.auth.policy.names import Rule
from consoled.auth.policy.routes import BREAK, CONFIGURE, CONSOLES, NATIVE_TOKENS, SHELL, TOKENS

RULES = (
    rule(Rule.CONSOLES_LIST, READERS, "List the consoles of an instance.", CONSOLES),
    rule(
        Rule.CONSOLES_BREAK,
        ADMINS,
        "Send BREAK and SysRq to a console. Judged when a URL is given out, too: its page then "
        "has a menu for them. By default administrators alone, as SysRq restarts a guest or ends "
        "its processes past any login of the guest's own.",
        BREAK,
        *TOKENS,
    ),
    rule(
        Rule.CONSOLES_CONFIGURE,
        ADMINS,
        "Give an instance's domain serial ports, and take them away again. By default not for its "
        "project: it takes ports of the compute host, opens them on its network, writes log files "
        "there, and changes the definition of the domain.",
        *CONFIGURE,
    ),
    rule(
        Rule.TOKENS_CREATE,
        MEMBERS,
        "Get a URL with a token that opens a console to type into, whichever route it is asked by.",
        *TOKENS,
    ),
    rule(
        Rule.TOKENS_OBSERVE,
        READERS,
        "Get a URL with a token that lets its user watch a console and not type into it "
        "(the role observer).",
        *NATIVE_TOKENS,
    ),
    rule(
        Rule.SHELLS_CREATE,
        ADMINS,
        "Get a URL that opens a shell on an instance, over SSH. By default administrators alone: "
        "whoever has it is logged in already, with the user and the key of a node group, where a "
        "serial port asks for a name and a password.",
        SHELL,
    ),
    rule(
        Rule.TOKENS_SHOW,
        READERS,
        "See for which console a token is, whose it is and until when it is valid.",
        "GET /v1/tokens/{token_id}",
    ),
    rule(
        Rule.TOKENS_RESOLVE,
        SERVICES,
        "Learn by a token, which has to be sent whole, where its console listens. It is for "
        "proxies of other kinds, so services and administrators alone may by default.",
        "GET /v2.1/os-console-auth-tokens/{token}",
    ),
    rule(
        Rule.TOKENS_DELETE,
        MEMBERS,
        "Take a token back before it expires. A session that it has opened goes on.",
        "DELETE /v1/tokens/{token_id}",
    ),
)

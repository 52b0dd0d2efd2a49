"""Routes that several rules are about."""

from __future__ import annotations

_SERVER = "/v1/servers/{server_id}"
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

LIST = "GET /v1/servers"
SHOW = f"GET {_SERVER}"
CONSOLES = f"GET {_SERVER}/consoles"
CONFIGURE = (f"POST {_SERVER}/consoles", f"DELETE {_SERVER}/consoles")
BREAK = f"POST {_SERVER}/consoles/{{index}}/break"
MIGRATE = tuple(f"{method} {_SERVER}/migration" for method in ("POST", "GET", "DELETE"))
HTTP = tuple(f"{method} {_SERVER}/http/{{port}}/{{path}}" for method in _METHODS)
TCP = f"GET {_SERVER}/tcp/{{port}}"

LIST_COMPUTE = ("GET /v2.1/servers", "GET /v2.1/servers/detail")
SHOW_COMPUTE = "GET /v2.1/servers/{server_id}"

NATIVE_TOKENS = (f"POST {_SERVER}/consoles/{{index}}/tokens", f"POST {_SERVER}/tokens")
TOKENS = (
    *NATIVE_TOKENS,
    "POST /v2/{tenant_id}/servers/{server_id}/get-serial-console",
    "POST /v3/servers/{server_id}/get-serial-console",
    "POST /v2.1/servers/{server_id}/action",
    "POST /v2.1/servers/{server_id}/remote-consoles",
)
"""Whichever way somebody asks for a console's URL."""
SHELL = f"POST {_SERVER}/consoles/ssh/tokens"

END_SESSIONS = ("DELETE /v1/sessions/{session_id}", f"DELETE {_SERVER}/sessions")

OF_INSTANCES = (
    SHOW,
    SHOW_COMPUTE,
    CONSOLES,
    *CONFIGURE,
    BREAK,
    *TOKENS,
    SHELL,
    *END_SESSIONS,
    *MIGRATE,
    *HTTP,
    TCP,
)
"""Those that are about one instance."""

"""Runs in nova's environment: a list of calls on standard input, answers on standard output.

===================================== ====================================================
``{"do": ...}``                       answer
===================================== ====================================================
``authorize``: fields, ttl            the token object's fields, its clear token among them
``validate``: token                   the same, or null where nova refuses the token
``read``: primitive                   the fields that nova's class reads from it
``write``: fields, version            the primitive that nova's class writes
===================================== ====================================================
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any


class Calls:
    """nova's own ConsoleAuthToken, by the words of the table above."""

    def __init__(self, arguments: list[str]) -> None:
        # Before everything else of nova's: it decides about eventlet.
        importlib.import_module("nova.monkey_patch")
        nova = {
            name: importlib.import_module(f"nova.{name}")
            for name in ("config", "context", "exception", "objects", "objects.base")
        }
        nova["config"].parse_args(["nova", *arguments])
        nova["objects"].register_all()
        self._token_class = nova["objects"].ConsoleAuthToken
        self._object_class = nova["objects.base"].NovaObject
        self._refused = nova["exception"].InvalidToken
        self._context = nova["context"].get_admin_context()

    def answer(self, call: dict[str, Any]) -> Any:
        """The answer to one call."""
        return getattr(self, f"_{call.pop('do')}")(**call)

    def _authorize(self, fields: dict[str, Any], ttl: int) -> Any:
        token = self._token_class(context=self._context, **fields)
        token.authorize(ttl)
        return self._fields(token)

    def _validate(self, token: str) -> Any:
        try:
            return self._fields(self._token_class.validate(self._context, token))
        except self._refused:
            return None

    def _read(self, primitive: dict[str, Any]) -> Any:
        return self._fields(self._object_class.obj_from_primitive(primitive))

    def _write(self, fields: dict[str, Any], version: str) -> Any:
        return self._token_class(**fields).obj_to_primitive(target_version=version)

    def _fields(self, token: Any) -> dict[str, Any]:
        found = {
            name: getattr(token, name)
            for name in token.fields
            if token.obj_attr_is_set(name) and name not in ("created_at", "updated_at")
        }
        found["access_url"] = token.access_url
        return found


def main() -> None:
    """Answers what standard input asks."""
    calls = Calls(sys.argv[1:])
    print(json.dumps([calls.answer(call) for call in json.load(sys.stdin)]))


if __name__ == "__main__":
    main()

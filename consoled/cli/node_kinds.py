"""What node groups and their templates are shown by, made, changed and deleted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
from attrs import frozen

from consoled.cli.api import path
from consoled.cli.invocation import Invocation
from consoled.cli.node_wish import find, members_text, wish_of
from consoled.cli.output import Column, Row, table, terminal_width

COLUMNS = (
    Column("id", "ID"),
    Column("name", "NAME", shrinks=True),
    Column("is_proxy", "PROXY"),
    Column("project_id", "PROJECT", shrinks=True),
    Column("user_name", "USER", shrinks=True),
    Column("members", "MEMBERS", shrinks=True),
    Column("via", "VIA", shrinks=True),
    Column("hosts", "HOSTS", shrinks=True),
)
_DETAILS = (Column("field", "FIELD"), Column("value", "VALUE", shrinks=True))


@frozen
class Kind:
    """One of the two.

    :ivar collection: its name in paths.
    :ivar member: its name in bodies.
    """

    collection: str
    member: str

    def show(self, invocation: Invocation, named: str) -> None:
        """Shows the one of that name or id."""
        api = invocation.api()
        show(invocation, api.get(self._place(api, named), self.member))

    def make(
        self, invocation: Invocation, options: Mapping[str, Any], template: str | None = None
    ) -> None:
        """Makes one, and shows it.

        :param template: what gives it the fields that the options do not.
        """
        api = invocation.api()
        wish = wish_of(api, options)
        if template is not None:
            wish["node_group_template_id"] = find(api, TEMPLATES.collection, template)
        show(invocation, api.post(path("v1", self.collection), self.member, {self.member: wish}))

    def change(self, invocation: Invocation, named: str, options: Mapping[str, Any]) -> None:
        """Changes the fields that the options give, and shows the outcome."""
        api = invocation.api()
        wish = wish_of(api, options)
        if not wish:
            raise click.UsageError("nothing to set; give one of the options")
        show(invocation, api.patch(self._place(api, named), self.member, {self.member: wish}))

    def delete(self, invocation: Invocation, named: str) -> None:
        """Deletes the one of that name or id."""
        api = invocation.api()
        found = find(api, self.collection, named)
        api.delete(path("v1", self.collection, found))
        what = self.collection.removesuffix("s").replace("-", " ").capitalize()
        invocation.show({"id": found}, f"{what} {named} is deleted.")

    def _place(self, api: Any, named: str) -> str:
        return path("v1", self.collection, find(api, self.collection, named))


GROUPS = Kind("node-groups", "node_group")
TEMPLATES = Kind("node-group-templates", "node_group_template")


def show_list(invocation: Invocation, found: list[Row], groups: list[Row], empty: str) -> None:
    """A table, in which groups have their names; for scripts the API's own objects."""
    if invocation.wants_json:
        invocation.show(found, "")
        return
    names = {one.get("id"): one.get("name") for one in groups}
    invocation.show_table(COLUMNS, [_line(one, names) for one in found], empty)


def _line(found: Row, names: Mapping[Any, Any]) -> Row:
    line = dict(found)
    via = line.pop("proxy_group_id", None)
    line["via"] = names.get(via, via)
    if "members" in line:
        line["members"] = members_text(line["members"])
    return line


def show(invocation: Invocation, found: Row) -> None:
    """Every field on a line of its own; of lists, every item."""
    rows = []
    for name, value in found.items():
        items = members_text(value) if name == "members" else value
        values = items if isinstance(items, list) and items else [items]
        rows += [
            {"field": name if at == 0 else "", "value": item} for at, item in enumerate(values)
        ]
    invocation.show(found, table(_DETAILS, rows, terminal_width()))

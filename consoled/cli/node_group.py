"""``consolectl node-group`` and ``node-group-template``: the SSH servers that lead elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from consoled.cli.api import path
from consoled.cli.invocation import Invocation, format_option, pass_invocation
from consoled.cli.node_wish import NOTHING, find, listed, members_text, wish_of
from consoled.cli.output import Column, Row, table, terminal_width

Command = TypeVar("Command", bound=Callable[..., Any])

GROUPS, GROUP = "node-groups", "node_group"
TEMPLATES, TEMPLATE = "node-group-templates", "node_group_template"

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

_GROUP_ONLY = ("members", "hosts")


def _options(*unset: str) -> Callable[[Command], Command]:
    """The options that groups and templates share."""
    file = click.Path(path_type=Path, allow_dash=True)
    options = [
        click.option("--project", metavar="PROJECT", help="Whose it is; else the operator's."),
        click.option("--proxy/--no-proxy", default=None, help="Others are reached over it."),
        click.option("--user", metavar="NAME", help="Who logs in there."),
        click.option(
            "--ssh-key", metavar="NAME", help="The key: a file in the daemon's keys_dir, no path."
        ),
        click.option(
            "--private-key",
            type=file,
            metavar="FILE",
            help="The key itself, from a file here (- is the standard input); kept encrypted.",
        ),
        click.option(
            "--passphrase-file", type=file, metavar="FILE", help="With the key's passphrase."
        ),
        click.option(
            "--known-hosts",
            type=file,
            metavar="FILE",
            help="The host keys, as `ssh scan` prints them.",
        ),
        click.option("--via", metavar="GROUP", help="The proxy group that leads there."),
        click.option(
            "--unset",
            type=click.Choice(unset),
            multiple=True,
            help="Leave this empty; may be given several times.",
        ),
    ]

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


_shared = _options(*(name for name in NOTHING if name not in _GROUP_ONLY))
_member_option = click.option(
    "--member",
    multiple=True,
    metavar="MEMBER",
    help="An IP address or a server, with :PORT where it is not 22; the first is the proxy. May "
    "be given several times; the new list replaces the old one.",
)
_host_option = click.option(
    "--host",
    multiple=True,
    metavar="HOST",
    help="A compute host that this group leads to, by its name; may be given several times.",
)


def _of_group(command: Command) -> Command:
    return _options(*NOTHING)(_member_option(_host_option(command)))


@click.group("node-group")
def node_group() -> None:
    """SSH servers that lead to instances and compute hosts."""


@node_group.command("list")
@format_option
@pass_invocation
def list_groups(invocation: Invocation) -> None:
    """List the groups that the key may see."""
    groups = listed(invocation.api(), GROUPS)
    _show_list(invocation, groups, groups, "There are no node groups that this key may see.")


@node_group.command("show")
@click.argument("group", metavar="GROUP")
@format_option
@pass_invocation
def show_group(invocation: Invocation, group: str) -> None:
    """Show all of GROUP, a name or id, but its key."""
    api = invocation.api()
    _show(invocation, api.get(path("v1", GROUPS, find(api, GROUPS, group)), GROUP))


@node_group.command("create")
@click.argument("name", metavar="NAME", required=False)
@click.option(
    "--template", metavar="TEMPLATE", help="Take every field that is not given from this template."
)
@_of_group
@format_option
@pass_invocation
def create_group(invocation: Invocation, /, template: str | None, **options: Any) -> None:
    """Make a group with that NAME, or with its template's."""
    api = invocation.api()
    wish = wish_of(api, options)
    if template is not None:
        wish["node_group_template_id"] = find(api, TEMPLATES, template)
    _show(invocation, api.post(path("v1", GROUPS), GROUP, {GROUP: wish}))


@node_group.command("set")
@click.argument("group", metavar="GROUP")
@click.option("--name", metavar="NAME", help="A new name.")
@_of_group
@format_option
@pass_invocation
def set_group(invocation: Invocation, /, group: str, **options: Any) -> None:
    """Change those fields of GROUP, a name or id, that are given."""
    _set(invocation, GROUPS, GROUP, group, options)


@node_group.command("delete")
@click.argument("group", metavar="GROUP")
@format_option
@pass_invocation
def delete_group(invocation: Invocation, group: str) -> None:
    """Delete GROUP, a name or id; what goes over its nodes goes on."""
    _delete(invocation, GROUPS, group)


@click.group("node-group-template")
def node_group_template() -> None:
    """What new node groups begin as."""


@node_group_template.command("list")
@format_option
@pass_invocation
def list_templates(invocation: Invocation) -> None:
    """List the templates that the key may see."""
    api = invocation.api()
    templates = listed(api, TEMPLATES)
    named = any(one.get("proxy_group_id") for one in templates)
    groups = listed(api, GROUPS) if named and not invocation.wants_json else []
    _show_list(invocation, templates, groups, "There are no templates that this key may see.")


@node_group_template.command("show")
@click.argument("template", metavar="TEMPLATE")
@format_option
@pass_invocation
def show_template(invocation: Invocation, template: str) -> None:
    """Show all of TEMPLATE, a name or id, but its key."""
    api = invocation.api()
    _show(invocation, api.get(path("v1", TEMPLATES, find(api, TEMPLATES, template)), TEMPLATE))


@node_group_template.command("create")
@click.argument("name", metavar="NAME")
@_shared
@format_option
@pass_invocation
def create_template(invocation: Invocation, /, **options: Any) -> None:
    """Make a template with that NAME."""
    api = invocation.api()
    wish = {TEMPLATE: wish_of(api, options)}
    _show(invocation, api.post(path("v1", TEMPLATES), TEMPLATE, wish))


@node_group_template.command("set")
@click.argument("template", metavar="TEMPLATE")
@click.option("--name", metavar="NAME", help="A new name.")
@_shared
@format_option
@pass_invocation
def set_template(invocation: Invocation, /, template: str, **options: Any) -> None:
    """Change those fields of TEMPLATE that are given; groups made with it stay as they are."""
    _set(invocation, TEMPLATES, TEMPLATE, template, options)


@node_group_template.command("delete")
@click.argument("template", metavar="TEMPLATE")
@format_option
@pass_invocation
def delete_template(invocation: Invocation, template: str) -> None:
    """Delete TEMPLATE, a name or id; groups made with it stay."""
    _delete(invocation, TEMPLATES, template)


def _set(
    invocation: Invocation, collection: str, member: str, named: str, options: Mapping[str, Any]
) -> None:
    api = invocation.api()
    wish = wish_of(api, options)
    if not wish:
        raise click.UsageError("nothing to set; give one of the options")
    route = path("v1", collection, find(api, collection, named))
    _show(invocation, api.patch(route, member, {member: wish}))


def _delete(invocation: Invocation, collection: str, named: str) -> None:
    api = invocation.api()
    found = find(api, collection, named)
    api.delete(path("v1", collection, found))
    what = collection.removesuffix("s").replace("-", " ").capitalize()
    invocation.show({"id": found}, f"{what} {named} is deleted.")


def _show_list(invocation: Invocation, found: list[Row], groups: list[Row], empty: str) -> None:
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


def _show(invocation: Invocation, found: Row) -> None:
    """Every field on a line of its own; of lists, every item."""
    rows = []
    for name, value in found.items():
        items = members_text(value) if name == "members" else value
        values = items if isinstance(items, list) and items else [items]
        rows += [
            {"field": name if at == 0 else "", "value": item} for at, item in enumerate(values)
        ]
    invocation.show(found, table(_DETAILS, rows, terminal_width()))

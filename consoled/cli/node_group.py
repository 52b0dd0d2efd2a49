"""``consolectl node-group`` and ``node-group-template``: the SSH servers that lead elsewhere."""

from __future__ import annotations

from typing import Any

import click

from consoled.cli.invocation import Invocation, format_option, pass_invocation
from consoled.cli.node_kinds import GROUPS, TEMPLATES, show_list
from consoled.cli.node_options import of_group, of_template
from consoled.cli.node_wish import listed


@click.group("node-group")
def node_group() -> None:
    """SSH servers that lead to instances and compute hosts."""


@node_group.command("list")
@format_option
@pass_invocation
def list_groups(invocation: Invocation) -> None:
    """List the groups that the key may see."""
    groups = listed(invocation.api(), GROUPS.collection)
    show_list(invocation, groups, groups, "There are no node groups that this key may see.")


@node_group.command("show")
@click.argument("group", metavar="GROUP")
@format_option
@pass_invocation
def show_group(invocation: Invocation, group: str) -> None:
    """Show all of GROUP, a name or id, but its key."""
    GROUPS.show(invocation, group)


@node_group.command("create")
@click.argument("name", metavar="NAME", required=False)
@click.option(
    "--template", metavar="TEMPLATE", help="Take every field that is not given from this template."
)
@of_group
@format_option
@pass_invocation
def create_group(invocation: Invocation, /, template: str | None, **options: Any) -> None:
    """Make a group with that NAME, or with its template's."""
    GROUPS.make(invocation, options, template)


@node_group.command("set")
@click.argument("group", metavar="GROUP")
@click.option("--name", metavar="NAME", help="A new name.")
@of_group
@format_option
@pass_invocation
def set_group(invocation: Invocation, /, group: str, **options: Any) -> None:
    """Change those fields of GROUP, a name or id, that are given."""
    GROUPS.change(invocation, group, options)


@node_group.command("delete")
@click.argument("group", metavar="GROUP")
@format_option
@pass_invocation
def delete_group(invocation: Invocation, group: str) -> None:
    """Delete GROUP, a name or id; what goes over its nodes goes on."""
    GROUPS.delete(invocation, group)


@click.group("node-group-template")
def node_group_template() -> None:
    """What new node groups begin as."""


@node_group_template.command("list")
@format_option
@pass_invocation
def list_templates(invocation: Invocation) -> None:
    """List the templates that the key may see."""
    api = invocation.api()
    templates = listed(api, TEMPLATES.collection)
    named = any(one.get("proxy_group_id") for one in templates)
    groups = listed(api, GROUPS.collection) if named and not invocation.wants_json else []
    show_list(invocation, templates, groups, "There are no templates that this key may see.")


@node_group_template.command("show")
@click.argument("template", metavar="TEMPLATE")
@format_option
@pass_invocation
def show_template(invocation: Invocation, template: str) -> None:
    """Show all of TEMPLATE, a name or id, but its key."""
    TEMPLATES.show(invocation, template)


@node_group_template.command("create")
@click.argument("name", metavar="NAME")
@of_template
@format_option
@pass_invocation
def create_template(invocation: Invocation, /, **options: Any) -> None:
    """Make a template with that NAME."""
    TEMPLATES.make(invocation, options)


@node_group_template.command("set")
@click.argument("template", metavar="TEMPLATE")
@click.option("--name", metavar="NAME", help="A new name.")
@of_template
@format_option
@pass_invocation
def set_template(invocation: Invocation, /, template: str, **options: Any) -> None:
    """Change those fields of TEMPLATE that are given; groups made with it stay as they are."""
    TEMPLATES.change(invocation, template, options)


@node_group_template.command("delete")
@click.argument("template", metavar="TEMPLATE")
@format_option
@pass_invocation
def delete_template(invocation: Invocation, template: str) -> None:
    """Delete TEMPLATE, a name or id; groups made with it stay."""
    TEMPLATES.delete(invocation, template)

"""Changing a domain's XML so that nothing else of it changes. Pure: text in, text out.

lxml keeps comments, attributes and the order of everything; the white space around what is
put in or taken out is looked after here, so that the text stays as readable as it was, and
taking out what was put in leaves the text as it was.
"""

from __future__ import annotations

import difflib
import re
from copy import deepcopy

from lxml import etree

from consoled.compute.libvirt.xml import DomainXMLError

STEP = "  "
"""libvirt's own indentation."""

_SECRET = frozenset({"passwd", "password"})
_MASK = "***"


def parse_document(text: str) -> etree._Element:
    """The root of a document, with its comments and white space.

    :raises consoled.compute.libvirt.xml.DomainXMLError: it is not well-formed.
    """
    parser = etree.XMLParser(
        encoding="utf-8", resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False
    )
    try:
        return etree.fromstring(text.encode("utf-8", "replace"), parser)
    except etree.XMLSyntaxError as error:
        raise DomainXMLError(f"not well-formed: {error.msg}") from None


def to_text(root: etree._Element) -> str:
    """The document as text, with what stands before and after its root."""
    return etree.tostring(root.getroottree(), encoding="unicode")


def indentation(element: etree._Element) -> str | None:
    """The white space that the element's line begins with; None where it begins none."""
    return _last_line(_before(element))


def insert(parent: etree._Element, position: int, element: etree._Element) -> None:
    """Puts an element between a parent's children, on lines of its own where they have such.

    :param position: how many children stand before it.
    """
    before = parent.text if position == 0 else parent[position - 1].tail
    space = before if _is_space(before) else ""
    if position < len(parent):
        element.tail = space
        base = _last_line(space)
    else:
        # What follows is the parent's end, one step to the left.
        outer = _last_line(space)
        base = None if outer is None else outer + STEP
        if len(parent):
            base = indentation(parent[0]) if base is not None else None
        element.tail = space
        if base is not None:
            _set_before(parent, position, f"\n{base}")
    parent.insert(position, element)
    if base is not None:
        _lay_out(element, base)


def open_up(element: etree._Element) -> None:
    """Lets the children of an empty element, which begins a line, have lines of their own."""
    base = indentation(element)
    if base is not None and not len(element) and not element.text:
        element.text = f"\n{base}"


def remove(element: etree._Element) -> None:
    """Takes an element out, with the white space that it brought."""
    parent = _parent(element)
    position = parent.index(element)
    before, after = _before(element), element.tail or ""
    parent.remove(element)
    _set_before(parent, position, after if _is_space(before) else before + after)


def replace(element: etree._Element, other: etree._Element) -> None:
    """Puts another element in the place of one; the white space around it stays."""
    other.tail = element.tail
    _parent(element).replace(element, other)


def moved(element: etree._Element, old: str | None, new: str | None) -> etree._Element:
    """A copy of an element for a line that is indented otherwise.

    :param old: the indentation of its line now, new: that of the line to come; with None
        for either of them it stays as it is.
    """
    copy = deepcopy(element)
    copy.tail = None
    if old is None or new is None:
        return copy
    pattern = re.compile(rf"\n{re.escape(old)}")
    for part in copy.iter():
        if _is_space(part.text) and len(part):
            part.text = pattern.sub(f"\n{new}", part.text or "")
        if part is not copy and _is_space(part.tail):
            part.tail = pattern.sub(f"\n{new}", part.tail or "")
    return copy


def difference(before: str, after: str, name: str) -> str:
    """What changes, as a unified diff; "" where nothing does.

    Passwords are not shown: the text may hold them, as the domain would lose them otherwise.

    :param name: the domain's, for the head.
    """
    lines = difflib.unified_diff(
        _masked(before).splitlines(),
        _masked(after).splitlines(),
        f"{name} as it is",
        f"{name} as it will be",
        lineterm="",
    )
    return "\n".join(lines)


def _masked(text: str) -> str:
    root = parse_document(text)
    for element in root.iter(etree.Element):
        for name in _SECRET & set(element.attrib):
            element.set(name, _MASK)
    return to_text(root)


def _lay_out(element: etree._Element, base: str) -> None:
    """Gives children that have no white space yet a line each."""
    for part in element.iter(etree.Element):
        if not len(part) or part.text:
            continue
        depth = base + STEP * _depth(part, element)
        part.text = f"\n{depth}{STEP}"
        for child in part:
            child.tail = f"\n{depth}{STEP}"
        part[-1].tail = f"\n{depth}"


def _depth(part: etree._Element, top: etree._Element) -> int:
    depth = 0
    while part is not top:
        part, depth = _parent(part), depth + 1
    return depth


def _before(element: etree._Element) -> str:
    previous = element.getprevious()
    text = _parent(element).text if previous is None else previous.tail
    return text or ""


def _set_before(parent: etree._Element, position: int, text: str) -> None:
    if position == 0:
        parent.text = text
    else:
        parent[position - 1].tail = text


def _parent(element: etree._Element) -> etree._Element:
    parent = element.getparent()
    assert parent is not None, "the root stays"
    return parent


def _is_space(text: str | None) -> bool:
    return not (text or "").strip()


def _last_line(text: str | None) -> str | None:
    """The white space after the last line break; None where there is no line break."""
    _, newline, tail = (text or "").rpartition("\n")
    return tail if newline and not tail.strip() else None

"""What consoled changed of a domain, kept in the domain itself so that it can be undone.

libvirt keeps everything below ``<metadata>`` that has a namespace of its own. There stands,
for each serial port that is consoled's, that it was added, or the device that it replaced;
and the ``<console>`` that repeated serial port 0 before::

    <consoled:serial-devices xmlns:consoled="urn:consoled:serial-devices:1">
      <consoled:replaced port="0"><serial type="pty">...</serial></consoled:replaced>
      <consoled:console><console type="pty">...</console></consoled:console>
      <consoled:added port="1"/>
    </consoled:serial-devices>

``metadata="absent"`` or ``"empty"`` says what the ``<metadata>`` around it was before, and
``count="image"`` that the number of ports is the image's, as nobody has asked for another.
"""

from __future__ import annotations

import re

from attrs import frozen
from lxml import etree

from consoled.compute.libvirt.editing import indentation, insert, moved, open_up, remove

NAMESPACE = "urn:consoled:serial-devices:1"
PREFIX = "consoled"

_TAG = f"{{{NAMESPACE}}}serial-devices"
_ADDED = f"{{{NAMESPACE}}}added"
_REPLACED = f"{{{NAMESPACE}}}replaced"
_CONSOLE = f"{{{NAMESPACE}}}console"
_MADE = "metadata"
_COUNT, _OF_IMAGE = "count", "image"
_HEAD = ("name", "uuid", "genid", "title", "description")


@frozen(eq=False)
class Record:
    """The record of one domain; nothing is written before there is something to keep.

    :ivar root: the domain.
    """

    root: etree._Element

    def ports(self) -> frozenset[int]:
        """The ports that are consoled's."""
        return frozenset(self._entries())

    def add(self, port: int, original: etree._Element | None) -> None:
        """Keeps what stands at a port now, in the place of what was kept of it.

        :param original: the device there; None where there was none.
        """
        if (old := self._entries().get(port)) is not None:
            remove(old)
        name = _ADDED if original is None else _REPLACED
        entry = etree.Element(name, {"port": str(port)})
        self._append(entry, original)

    def original(self, port: int) -> etree._Element | None:
        """The device that stood at a port before; None for none."""
        entry = self._entries()[port]
        return entry[0] if len(entry) else None

    def keep_console(self, original: etree._Element | None) -> None:
        """Keeps the ``<console>`` that repeats serial port 0 now, in the place of an older one."""
        for kept in self.root.findall(f"metadata/{_TAG}/{_CONSOLE}"):
            remove(kept)
        if original is not None:
            self._append(etree.Element(_CONSOLE), original)

    def console(self) -> etree._Element | None:
        """The ``<console>`` that is kept, or None."""
        return self.root.find(f"metadata/{_TAG}/{_CONSOLE}/console")

    @property
    def follows_image(self) -> bool:
        """Whether the number of ports is the image's, also where that changes."""
        record = self.root.find(f"metadata/{_TAG}")
        return record is not None and record.get(_COUNT) == _OF_IMAGE

    def follow_image(self, follows: bool) -> None:
        """Notes it, where there is a record."""
        record = self.root.find(f"metadata/{_TAG}")
        if record is None:
            return
        if follows:
            record.set(_COUNT, _OF_IMAGE)
        elif _COUNT in record.attrib:
            del record.attrib[_COUNT]

    def erase(self) -> None:
        """Takes the record away, and the ``<metadata>`` that was made for it."""
        for element in self.root.findall(f"metadata/{_TAG}"):
            metadata = element.getparent()
            before = element.get(_MADE)
            remove(element)
            if metadata is None or len(metadata):
                continue
            if before == "absent":
                remove(metadata)
            elif before == "empty":
                metadata.text = None

    def _entries(self) -> dict[int, etree._Element]:
        found = self.root.iterfind(f"metadata/{_TAG}/*")
        return {
            int(port): entry
            for entry in found
            if entry.tag in (_ADDED, _REPLACED)
            and re.fullmatch(r"[0-9]{1,5}", port := entry.get("port", ""))
            # A record that somebody has emptied leads back to nothing.
            and (entry.tag == _ADDED or (len(entry) and entry[0].tag == "serial"))
        }

    def _append(self, entry: etree._Element, original: etree._Element | None) -> None:
        record = self._made()
        insert(record, len(record), entry)
        if original is not None:
            base = indentation(entry)
            inner = None if base is None else f"{base}  "
            copy = moved(original, indentation(original), inner)
            entry.append(copy)
            if inner is not None:
                entry.text, copy.tail = f"\n{inner}", f"\n{base}"

    def _made(self) -> etree._Element:
        metadata, record = self.root.find("metadata"), self.root.find(f"metadata/{_TAG}")
        if record is not None:
            return record
        record = etree.Element(_TAG, nsmap={PREFIX: NAMESPACE})
        if metadata is None:
            metadata = etree.Element("metadata")
            places = [i for i, child in enumerate(self.root, 1) if child.tag in _HEAD]
            insert(self.root, max(places, default=0), metadata)
            record.set(_MADE, "absent")
        elif not len(metadata) and not metadata.text:
            record.set(_MADE, "empty")
        open_up(metadata)
        insert(metadata, len(metadata), record)
        open_up(record)
        return record

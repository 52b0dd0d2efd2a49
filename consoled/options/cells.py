"""``[cells]`` and the section of each other cell."""

from __future__ import annotations

from consoled.options.declared.cells import CELL_SECTION
from consoled.options.reading import Reader
from consoled.options.tls import UnusableFile, check_authorities
from consoled.settings import Cells, CellSite


def other_cells(reader: Reader, own: str) -> Cells:
    """The deployment's other cells; none where ``[cells] names`` is empty.

    :param own: the name of this one, which may be in the list.
    :raises consoled.errors.ConfigError: a cell has no section or one that lacks something, or a
        section has no cell.
    """
    names: tuple[str, ...] = reader.value("cells", "names")
    sections = {f"{CELL_SECTION}{name}".lower(): name for name in names}
    if len(sections) < len(names):
        reader.fail("cells", "names", "holds names that differ in upper and lower case only")
    for section in reader.sections_of(CELL_SECTION):
        if section not in sections:
            reader.fail_section(section, "is of no cell; name it in [cells] names, or remove it")
    sites = [_site(reader, section, name) for section, name in sections.items()]
    return Cells(
        tuple(site for site in sites if site.name != own),
        reader.value("cells", "timeout"),
        reader.value("cells", "check_interval"),
    )


def _site(reader: Reader, section: str, name: str) -> CellSite:
    if section not in reader.sections_of(CELL_SECTION):
        reader.fail(
            "cells",
            "names",
            f"names {name}, which has no section; add [{CELL_SECTION}{name}] with its api_url",
        )
    if not reader.is_set(section, "api_url"):
        reader.fail_section(section, "has no api_url; it says where the cell's REST API is")
    site = CellSite(name, reader.value(section, "api_url"), reader.value(section, "cafile"))
    if site.cafile is not None:
        try:
            check_authorities(site.cafile)
        except UnusableFile as error:
            reader.fail(section, "cafile", str(error))
    return site

"""The twistd plugin: it only names consoled.tap, so that listing plugins imports nothing."""

from twisted.application.service import ServiceMaker

consoled = ServiceMaker(
    "consoled",
    "consoled.tap",
    "Serial consoles of virtual machines: REST API and WebSocket proxy of one cell.",
    "consoled",
)

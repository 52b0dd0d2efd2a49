"""Serves an OpenStack service's WSGI application with waitress on a free loopback port.

Run by the Python of the service's own environment:
``python wsgi_service.py NAME MODULE PORT_FILE PORT WORDS...``. The services parse the command
line of whatever starts them, so NAME and WORDS are made theirs before they are imported.
MODULE may be several, with commas: database models, which are complete before anything is
asked of them, and at last the application.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path


def main() -> None:
    """Serves until it is ended; the port is in the file when it listens."""
    _, name, modules, told, port, *words = sys.argv
    sys.argv = [name, *words]
    *models, module = modules.split(",")
    for each in models:
        importlib.import_module(each)
    if models:
        importlib.import_module("sqlalchemy.orm").configure_mappers()
    application = importlib.import_module(module).application
    waitress = importlib.import_module("waitress")
    server = waitress.create_server(application, host="127.0.0.1", port=int(port), threads=4)
    fresh = Path(f"{told}.new")
    fresh.write_text(str(server.effective_port))
    fresh.rename(told)
    server.run()


if __name__ == "__main__":
    main()

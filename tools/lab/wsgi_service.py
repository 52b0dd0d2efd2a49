"""Serves an OpenStack service's WSGI application with waitress on a free loopback port.

Run by the Python of the service's own environment:
``python wsgi_service.py NAME MODULE PORT_FILE PORT``. The services parse the command line of
whatever starts them, so it is made theirs before they are imported.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path


def main() -> None:
    """Serves until it is ended; the port is in the file when it listens."""
    _, name, module, told, port = sys.argv
    sys.argv = [name]
    application = importlib.import_module(module).application
    waitress = importlib.import_module("waitress")
    server = waitress.create_server(application, host="127.0.0.1", port=int(port), threads=4)
    fresh = Path(f"{told}.new")
    fresh.write_text(str(server.effective_port))
    fresh.rename(told)
    server.run()


if __name__ == "__main__":
    main()

"""``twistd`` with the daemon, and a probe inside it: only the benchmark runs this.

The command line is twistd's own. The probe's port stands in ``probe.port`` in the working
folder as soon as the daemon serves.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

if __name__ == "__main__":
    # Not this file's folder: a module here would hide the standard library's of its name.
    sys.path[0] = str(ROOT)

    from twisted.scripts.twistd import run

    from bench.probe import install

    install(Path.cwd() / "probe.port")
    run()

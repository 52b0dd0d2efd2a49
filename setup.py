"""Builds the package: the page by npm, the twistd plugin and the migrations beside it.

Everything static is in pyproject.toml. A wheel carries the built page, so that
installing one needs no npm.
"""

import shutil
import subprocess
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py
from setuptools.errors import SetupError

HERE = Path(__file__).parent
WEB = HERE / "consoled" / "web"


class BuildPageThenPython(build_py):
    """Builds the page where its output is missing, then does what setuptools does."""

    def run(self) -> None:
        if not self.editable_mode and not (WEB / "static" / "serial.html").exists():
            self.build_page()
        super().run()

    def build_page(self) -> None:
        npm = shutil.which("npm")
        if npm is None:
            raise SetupError(
                "npm is needed to build the page of consoled from source: install nodejs (18 or "
                "newer) and npm, or install a wheel of consoled, which carries the built page"
            )
        for arguments in (["ci", "--no-audit", "--no-fund"], ["run", "build"]):
            subprocess.run([npm, *arguments], cwd=WEB, check=True)


setup(
    packages=[
        *find_packages(include=["consoled", "consoled.*"]),
        "consoled.migrations",
        "consoled.migrations.versions",
        "twisted.plugins",
    ],
    package_dir={"consoled.migrations": "migrations"},
    package_data={
        "consoled": ["py.typed", "web/static/*", "web/static/assets/*"],
        "consoled.migrations": ["*.mako"],
    },
    cmdclass={"build_py": BuildPageThenPython},
)

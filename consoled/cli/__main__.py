"""``python -m consoled.cli``."""

from consoled.cli import main

main()

"""``python -m consoled.options > etc/consoled.conf.sample``."""

import sys

from consoled.options.sample import sample

sys.stdout.write(sample())

"""``python -m consoled.auth.policy`` writes etc/policy.yaml.sample."""

import sys

from consoled.auth.policy.sample import render_sample

sys.stdout.write(render_sample())

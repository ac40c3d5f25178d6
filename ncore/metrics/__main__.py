"""`python -m ncore.metrics` writes docs/metrics.md."""

import sys

from ncore.metrics.catalogue import page

sys.stdout.write(page())

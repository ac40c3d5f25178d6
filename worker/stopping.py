"""Whether this process has been asked to stop: the experiment under way is then given back with its checkpoint."""

from __future__ import annotations

import threading

stop_asked = threading.Event()

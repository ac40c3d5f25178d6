"""Features that somebody saved, measured afterwards.

>>> from ncore.saved import read
>>> read("epoch_200.npz").measure()     # {("nc1", None): …, ("nc3", None): …}
"""

from __future__ import annotations

from ncore.saved.contents import UnreadableError
from ncore.saved.features import SavedFeatures, read, read_bytes
from ncore.saved.folder import steps_of

__all__ = ["SavedFeatures", "UnreadableError", "read", "read_bytes", "steps_of"]

"""Pictures of measurements beside predictions, as Vega-Lite and as files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ncore.pictures.picture import Picture, compare, figure

__all__ = ["Picture", "compare", "figure"]


def __getattr__(name: str) -> Any:
    """Loads what needs specs and theory only when it is asked for: a process that only draws files starts sooner."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ncore.pictures import picture

    return getattr(picture, name)

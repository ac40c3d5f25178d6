"""A folder of saved features: a file for each step."""

from __future__ import annotations

import re
from pathlib import Path

from ncore.saved.contents import UnreadableError
from ncore.saved.features import FORMS
from ncore.saved.names import ROLES


def steps_of(folder: Path) -> tuple[list[tuple[int, Path]], dict[str, Path]]:
    """(step, file) in the order of steps; and the files that serve for all: `labels.npy`, `weight.npy`, `bias.npy`.

    A step is the last whole number in a file's name: `epoch_010.npz`, `ckpt-200.pt`. Raises UnreadableError for a
    folder without such files, and where two have the same step.
    """
    files = [one for one in sorted(folder.iterdir()) if one.suffix.lower() in FORMS and not one.name.startswith(".")]
    ends = ("labels", "weight", "bias")
    shared = {role: one for role in ends for one in files if one.stem.lower() in ROLES[role]}
    found: dict[int, Path] = {}
    for file in (one for one in files if one not in shared.values()):
        numbers = re.findall(r"\d+", file.stem)
        if not numbers:
            raise UnreadableError(f"{file.name}: its name must hold its step, as epoch_10{file.suffix} does")
        step = int(numbers[-1])
        if step in found:
            raise UnreadableError(f"{file.name}: has step {step}, as {found[step].name} has")
        found[step] = file
    if not found:
        raise UnreadableError(f"{folder}: holds no file that ends in {', '.join(FORMS)}")
    return sorted(found.items()), shared

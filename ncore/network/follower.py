"""The process of a rank that is not 0: it takes a step whenever rank 0 says so (`ranks.py` starts it)."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path

import torch

from ncore.network.device import float32_products
from ncore.network.ranks import SPEC, STATE, STEP, Group, RankLost
from ncore.network.run import NetworkRun
from ncore.spec import NetworkSpec, parse_spec


def follow(folder: Path, size: int, device: str, data_dir: str | None, rank: int) -> None:
    """The work of every rank but 0."""
    spec = parse_spec(json.loads((folder / SPEC).read_text()))
    assert isinstance(spec, NetworkSpec)  # noqa: S101 (for the type checker)
    mine = f"cuda:{rank}" if device.startswith("cuda") else device
    state = torch.load(folder / STATE, map_location="cpu", weights_only=True)
    run = NetworkRun(spec, mine, state, data_dir)
    group = Group.meet(folder, rank, size, mine)
    run.join(group)
    with float32_products(tf32=spec.precision == "tf32"):
        while group.broadcast(0, mine) == STEP:
            run.train_step()


def _end_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 1):  # unbuffered: a lock of sys.stdin would be in the way of the end
        pass
    os._exit(0)


def main() -> None:
    folder, size, device, data_dir, threads, rank = sys.argv[1:]
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(int(threads))
    try:
        follow(Path(folder), int(size), device, data_dir or None, int(rank))
    except RankLost:
        os._exit(1)  # rank 0 knows, and begins anew


if __name__ == "__main__":
    main()

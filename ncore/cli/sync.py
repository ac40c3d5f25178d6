"""The command that sends what loops have logged into folders."""

from __future__ import annotations

from argparse import Namespace

from ncore.cli.terminal import console, faults
from ncore.client import ApiError, Client
from ncore.client.sending import Sender
from ncore.client.spool import Spool, root_of, spools_in


def sync(given: Namespace) -> int:
    """Sends every run of the folder; 1 where one was refused."""
    folder = root_of(given.folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder of a run or of runs")
    spools = spools_in(folder)
    if not spools:
        console.print(f"{folder} holds no runs")
    return max([_sent(spool, given.url) for spool in spools], default=0)


def _sent(spool: Spool, url: str | None) -> int:
    """Sends what is left of one run, and says what that was."""
    name = spool.about["body"]["name"] or spool.folder.name
    with Client(url or spool.about["url"], patience_seconds=10.0) as client:
        sender = Sender(spool, client)
        try:
            while sender.advance():
                pass
        except ApiError as error:
            faults.print(f"{name} ({spool.folder}): refused: {error}", style="red")
            return 1
    kept = f", of {sender.kept} other values were stored before and stay" if sender.kept else ""
    ended = f"; it is {sender.status}" if sender.status else ""
    sent = f"{sender.sent} rows sent{kept}{ended}" if sender.status else "everything was sent before"
    console.print(f"{name} (experiment {sender.id}): {sent}")
    return 0

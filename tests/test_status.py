"""The states of an experiment stand in one place, and the dashboard's are the same."""

import json
import re
from pathlib import Path

from ncore import status

ROOT = Path(__file__).parent.parent
FORMAT = ROOT / "api" / "static" / "parts" / "format.js"
NAME = f"[\"'](?:{'|'.join(status.STATUSES)})[\"']"
A_LIST = re.compile(rf"[\[(]\s*{NAME}(?:\s*,\s*{NAME})+,?\s*[\])]")


def test_the_dashboard_knows_the_same_states():
    found = dict(re.findall(r"^(?:export )?const (\w+) = (\[.*\]);$", FORMAT.read_text(), re.M))
    for name, known in (("STATES", status.STATUSES), ("ENDED", status.ENDED), ("RETRIED", status.RETRIED)):
        assert tuple(json.loads(found[name])) == known


def test_no_other_file_has_the_same_lists():
    scripts = [path for path in (ROOT / "api" / "static").rglob("*.js") if "vendor" not in path.parts]
    modules = [path for room in ("ncore", "api", "worker") for path in (ROOT / room).rglob("*.py")]
    known = [set(names) for names in (status.STATUSES, status.ENDED, status.RETRIED)]
    places = {
        path.relative_to(ROOT)
        for path in [*scripts, *modules]
        for found in A_LIST.findall(path.read_text())
        if set(re.findall(r"\w+", found)) in known
    }
    assert places == {FORMAT.relative_to(ROOT), Path("ncore/status.py")}

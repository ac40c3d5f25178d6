"""What scripts do with the command line: queries, forms of output, short ids, annotations, completion."""

import csv
import io
import shlex
import subprocess
from itertools import takewhile

import orjson
import pytest
from conftest import ncore

from ncore.cli.examples import EXAMPLES
from ncore.cli.parser import COMMANDS, _parser, options_of
from ncore.cli.terminal import shown_finals, verdict_lines
from ncore.client import Client


@pytest.fixture(scope="module")
def runs(service):
    """Two that have ended, found by a tag of their own."""
    with Client(service.url) as client:
        short = {"optimizer.steps": 300, "measure.points": 5, "tags": ["scripts"]}
        made = [client.submit("fig1", {**short, "name": f"run {i}", "seeds": [i]}) for i in range(2)]
        yield {"NCORE_URL": service.url}, [one.wait(progress=False) for one in made]


def test_a_list_is_chosen_by_a_query_and_written_in_every_form(runs):
    at, (first, second) = runs
    where = "tag:scripts and nc1.h1 < 1e9 and name ~ RUN"
    shown = ncore("list", "-q", where, "--columns", "nc1.h1,seeds", env=at)
    assert shown.returncode == 0, shown.stderr
    assert first.id in shown.stdout
    assert "nc1.h1" in shown.stdout
    for quiet in (("-w", where, "-q"), ("-q", where, "--quiet"), ("--quiet", "--tag", "scripts")):
        assert ncore("list", *quiet, env=at).stdout.split() == [second.id, first.id]
    items = orjson.loads(ncore("list", "-q", where, "--columns", "nc1.h1", "--json", "--sort=name", env=at).stdout)
    assert [item["id"] for item in items] == [first.id, second.id]
    assert items[0]["values"]["nc1.h1"] == first.series(metric="nc1", layer="h1")[0]["values"][-1]
    table = csv.DictReader(io.StringIO(ncore("list", "-w", where, "--columns", "nc1.h1", "--csv", env=at).stdout))
    assert [float(row["nc1.h1"]) > 0 for row in table] == [True, True]
    wrong = ncore("list", "-q", "nc1.h1 <", env=at)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "where: expected a value" in wrong.stderr
    assert "at character 9" in wrong.stderr


def test_an_id_may_be_its_beginning_where_that_is_one_experiments(runs):
    at, (first, _) = runs
    others = ncore("list", "--quiet", "--limit", 200, "--archived", env=at).stdout.split()
    short = next(first.id[:n] for n in range(1, 13) if sum(one.startswith(first.id[:n]) for one in others) == 1)
    assert orjson.loads(ncore("show", short, "--json", env=at).stdout)["id"] == first.id
    rows = list(csv.DictReader(io.StringIO(ncore("show", short, "--csv", env=at).stdout)))
    assert {"nc1", "objective"} <= {row["metric"] for row in rows}
    assert "no experiment's id begins with 'zz'" in ncore("show", "zz", env=at).stderr
    with Client(at["NCORE_URL"]) as client:
        more = [client.submit("fig1", {"optimizer.steps": 1, "name": "many"}).id for _ in range(17)]  # of 16 digits
    digit = next(one for one in "0123456789abcdef" if sum(made.startswith(one) for made in more) > 1)
    several = ncore("cancel", digit, env=at)
    assert several.returncode == 2
    assert "is the beginning of several ids" in several.stderr
    assert sum(made in several.stderr for made in more) > 1


def test_tags_notes_and_archive(runs, monkeypatch):
    at, (first, _) = runs
    assert ncore("tag", first.id, "new", "two words", env=at).stdout.splitlines() == ["scripts", "new", "two words"]
    assert ncore("tag", first.id, "--remove", "new", env=at).stdout.splitlines() == ["scripts", "two words"]
    assert ncore("note", first.id, "It *ends*.", "-q", env=at).stdout == f"{first.id}\n"
    monkeypatch.setattr("sys.stdin", io.StringIO("- more\n"))
    assert ncore("note", first.id, "-", "--append", env=at).returncode == 0
    assert ncore("note", first.id, env=at).stdout == "It *ends*.\n\n- more\n\n"
    assert ncore("archive", first.id, env=at).returncode == 0
    assert ncore("list", "-q", "tag:'two words'", "--quiet", env=at).stdout == ""
    assert ncore("list", "-q", "tag:'two words'", "--quiet", "--archived", env=at).stdout == f"{first.id}\n"
    assert ncore("archive", first.id, "--undo", env=at).returncode == 0
    refused = ncore("tag", first.id, "x" * 65, env=at)
    assert refused.returncode == 2
    assert "tags.2" in refused.stderr


def test_comparing_and_drawing(runs, tmp_path):
    at, made = runs
    ids = [one.id for one in made]
    rows = orjson.loads(ncore("compare", *ids, "--json", env=at).stdout)
    assert [row["seeds"] for row in rows] == [[0], [1]]
    assert "optimizer.steps" not in rows[0]  # the same in both
    assert rows[0]["final.nc1.h1"] > 0
    assert ids[1] in ncore("compare", *ids, env=at).stdout
    one = ncore("figure", ids[0], "--out", tmp_path / "a.svg", "--panels", "nc1,nc2", "--style", "paper", env=at)
    assert one.returncode == 0, one.stderr
    both = ncore("figure", *ids, "--out", tmp_path / "b.json", "--metric", "nc3", "--title", "none", env=at)
    assert both.returncode == 0, both.stderr
    assert (tmp_path / "a.svg").read_text().startswith("<svg")
    assert orjson.loads((tmp_path / "b.json").read_bytes())
    gram = ["figure", "--geometry", "--out", tmp_path / "gram.json", ids[0]]
    shown = ncore(*gram, "--step", "0", "--layer", "W", "--seed", "0", env=at)
    assert (shown.returncode, "step 0" in (tmp_path / "gram.json").read_text()) == (0, True), shown.stderr
    assert ncore("figure", ids[0], "--singular-values", "--out", tmp_path / "s.svg", env=at).returncode == 0
    for more, words in (
        (["--panels", "nc1"], "--panels: cannot be given with --geometry"),
        (["--seed", "0", "--seed", "1"], "--seed: must be given once with --geometry; got 0, 1"),
        ([ids[1]], "--geometry: is for one experiment; got 2"),
    ):
        assert words in ncore(*gram, *more, env=at).stderr
    assert "--step: is for --geometry" in ncore("figure", ids[0], "--step", "1", "--out", "x.svg", env=at).stderr
    assert "--metric: is for several" in ncore("figure", ids[0], "--out", "x.svg", "--metric", "nc1", env=at).stderr
    assert "panel" in ncore("figure", ids[0], "--out", tmp_path / "c.svg", "--panels", "nc9", env=at).stderr


def test_a_verdict_that_is_not_known_is_shown_as_such():
    known = {"rank": None, "dead_samples": None, "objective": 1.0, "predicted": None, "gap": None, "note": "no nc1"}
    verdicts = [{"seed": 0, "reached": None, **known}, {"seed": 1, "reached": "orthogonal_frame", **known}]
    result = {"final": [], "verdict": verdicts}
    assert shown_finals(result) == {"final.verdict": "not known, orthogonal_frame"}
    assert list(verdict_lines(result)) == ["seed 0: not known (no nc1)", "seed 1: orthogonal frame (no nc1)"]
    assert shown_finals(None) == {}


def test_every_command_has_examples_that_it_understands():
    assert EXAMPLES.keys() == COMMANDS.keys()
    for command, lines in EXAMPLES.items():
        assert all(line in ncore(command, "--help").stdout for line in lines)
        for line in lines:
            words = list(takewhile(lambda word: word not in ("|", ">", "<"), shlex.split(line)))
            if words[0] == "ncore":
                assert _parser().parse_args(words[1:]).command == words[1]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_names_every_command_and_option(shell):
    text = ncore("completion", shell).stdout
    for command, options in options_of().items():
        assert command in text
        assert all(option.lstrip("-") in text for option in options if option.startswith("--"))
    if shell == "bash":
        asked = f'{text}\nCOMP_WORDS=(ncore li); COMP_CWORD=1; _ncore; echo "${{COMPREPLY[@]}}"'
        done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True)
        assert done.stdout == "list\n"

"""Every command line that README, ``--help`` and docs show, with its output cut after a line.

A line is run twice where it can run here in little time: whole, and with ``| head -1``. It must end
with the code it claims, and with the same code both times. What is shortened is said in
:func:`quick`, what cannot run here in :func:`elsewhere`; nothing is left out in silence.
"""

from __future__ import annotations

import gzip
import os
import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from harness import cli
from harness.errors import EXIT_BUG, EXIT_USAGE

ROOT = Path(__file__).resolve().parents[2]
_LINE = re.compile(r"(?:^|`|&& |; |sudo )(harness [a-z][^`;\n]*)")


def shown() -> list[str]:
    """Each command line of the documents, once, with its remark."""
    texts = [
        path.read_text("utf-8") for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    ]
    texts += cli._EXAMPLES.values()
    found: dict[str, None] = {}
    for text in texts:
        in_prose = text.replace("\\\n", " ")
        for line in in_prose.splitlines():
            code = line.startswith(("    ", "  harness", "harness")) or "`harness " in line
            for match in _LINE.finditer(line.strip()) if code else ():
                found[match[1].strip()] = None
    return list(found)


def words_of(line: str) -> list[str]:
    """The words of a line: a remark begins with # or, in columns, after two blanks."""
    bare = re.split(r"\s+#|\s{2,}(?!-)", re.sub(r" {2,}(?=--)", " ", line))[0]
    return [word for word in shlex.split(bare.replace("COMMAND", "list")) if word != "\\"]


def elsewhere(words: list[str]) -> str:
    """Why a line is not run here, or nothing."""
    value = dict(pairwise(words))
    if words[1] == "serve":
        return "it serves until it is interrupted"
    if value.get("--env") in ("docker", "ssh", "netns") and words[1] == "test":
        return "it needs containers, hosts or root"
    if any("image=" in word for word in words):
        return "it needs an image"
    if words[1] == "cluster":
        return "it leaves processes or files behind"
    if value.get("--db", "reference") != "reference":
        return "it needs real processes of a database that may not be here"
    if words[1:3] == ["patterns", "--run"] and len(words) == 3:
        return "all schedules take long; one is run by another line"
    return ""


def quick(words: list[str], run_dir: Path) -> list[str]:
    """The line in little time: in simulation, for few seconds, with the runs there are."""
    short = {"--time-limit": "3", "--seeds": "2", "--test-count": "2", "-j": "1", "--rate": "100",
             "--runs": "1"}  # fmt: skip
    made = [word.strip("[]") for word in words]
    for number, word in enumerate(words[:-1]):
        if word in short:
            made[number + 1] = short[word]
    made = [
        str(run_dir) if word == "RUN" or word.startswith("store/ref") else word for word in made
    ]
    if words[1:] == ["shrink"]:  # the latest run may be a seed of another command by then
        made.append(str(run_dir))
    if words[1] == "compare":
        made = ["compared" if word.startswith("store/compare/2") else word for word in made]
        made += ["--time-limit", "2", "--seed", "3"] * ("--resume" not in words)
        made += ["--store", "runs"]
    if words[1] == "test":
        made += ["--env", "sim"] * ("--env" not in words)
        made += ["--seed", "3"] * ("--seed" not in words)
        limit = "10" if "--ablate" in words else "8" if "local" in words else "3"
        made += ["--time-limit", limit] * ("--time-limit" not in words)
        made += ["--no-report", "--store", "runs"]
    if words[1] == "explore":
        made += ["--duration", "2s"]
        made += ["--seeds", "2"] * ("--seeds" not in words)
        made += ["-j", "1"] * ("-j" not in words)
    return made[1:]


def claimed(line: str) -> int | None:
    """The code a line says it ends with."""
    found = re.search(r"exit code (\d)", line)
    return int(found[1]) if found else None


LIST = "{:type :ok, :f :txn, :value [[:append 1 1] [:r 1 [1]]], :process 0, :index 1}\n"
TXN = "{:type :ok, :f :txn, :value [[:w 1 1] [:r 1 1]], :process 0, :index 1}\n"
REGISTER = "{:type :ok, :f :write, :value 1, :process 0, :index 1}\n"
MODEL = """
from checkers.linearizability.models import register


def tickets():
    return register()
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A directory with what the lines speak of."""
    here = tmp_path_factory.mktemp("place")
    before = os.getcwd()
    os.chdir(here)

    def invoked(event):
        asked = event.replace(":type :ok", ":type :invoke").replace(":index 1", ":index 0")
        return re.sub(r"\[:r 1 \S+?\]+(?=\])", "[:r 1 nil]", asked) + event

    Path("history.edn").write_text(invoked(LIST))
    Path("t.edn").write_text(invoked(TXN))
    Path("h.edn").write_text(invoked(REGISTER))
    Path("histories").mkdir()
    Path("histories/one.edn").write_text(invoked(REGISTER))
    Path("my_model.py").write_text(MODEL)
    Path("schedule.py").write_text((ROOT / "examples/schedule/schedule.py").read_text())
    code = cli.main(["test", "--env", "sim", "--time-limit", "3", "--seed", "7", "-q"])
    assert code == 0
    (run_dir,) = here.glob("store/*/2*")
    compared = ["--variant", "raft", "--variant", "raft+A30", "--runs", "1", "--time-limit", "2"]
    assert cli.main(["compare", *compared, "--seed", "3", "--store", "cmp"]) in (0, 1, 2)
    next(here.glob("cmp/compare/2*")).rename("compared")
    Path("h.jsonl.gz").write_bytes(gzip.compress((run_dir / "history.jsonl").read_bytes()))
    yield here, run_dir
    os.chdir(before)


LINES = shown()


def different() -> list[str]:
    """The lines that are run, without those that come to the same in little time."""
    found: dict[tuple[str, ...], str] = {}
    for line in LINES:
        if not elsewhere(words_of(line)):
            came_to = tuple(quick(words_of(line), Path("RUN")))
            if came_to not in found or claimed(line) is not None:
                found[came_to] = line
    return list(found.values())


@pytest.mark.parametrize("line", different())
def test_a_cut_output_changes_no_code(place, line):
    here, run_dir = place
    words = quick(words_of(line), run_dir)
    whole = cli.main(list(words))
    assert whole not in (EXIT_USAGE, EXIT_BUG) or words_of(line)[1] == "check", line
    command = shlex.join([sys.executable, "-m", "harness", *words])
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    script = f"{command} 2>/dev/null | head -1 >/dev/null; exit ${{PIPESTATUS[0]}}"
    cut = subprocess.run(["bash", "-c", script], cwd=here, env=env, timeout=300).returncode
    assert cut == whole, line
    if claimed(line) is not None:
        assert cut == claimed(line), line


def test_most_lines_are_run():
    ran = [line for line in LINES if not elsewhere(words_of(line))]
    assert len(LINES) > 50 and len(ran) > 0.6 * len(LINES)
    commands = {words_of(line)[1] for line in ran}
    assert commands == set(cli._COMMANDS) - {"serve", "cluster"}

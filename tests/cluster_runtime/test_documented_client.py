"""Every example of docs/client.md that is in a ``sh`` block, in order, on a cluster of its role."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from processes import Cluster

from cluster.client.command_line import main
from cluster.client.leaderless_words import WORDS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "client.md"
_BLOCK = re.compile(r"```sh(?: (\w+))?\n(.*?)```", re.DOTALL)
_LINE = re.compile(r"client (.*?)(?:\s+# (.*))?")
#: what a revision comes after
_REVISIONS = ("--revision", "--min-revision", "--after", "compact")
#: of the page's first example
FIRST_REVISION = 2
#: a revision that no cluster of a test reaches stays as it is
FAR = 100_000


def examples(role: str = "") -> list[tuple[str, str]]:
    """The words of each example, and its remark."""
    blocks = _BLOCK.findall(PAGE.read_text("utf-8"))
    lines = [line for of, block in blocks if of == role for line in block.split("\n")]
    found = [_LINE.fullmatch(line) for line in lines if line and not line.startswith("client()")]
    assert all(found), "a line in a block of the page is no example"
    return [(match[1], match[2] or "") for match in found if match is not None]


def shifted(words: list[str], by: int) -> list[str]:
    """An example whose revisions are those of this cluster: each election takes a revision too."""
    before = ["", *words]
    return [
        str(int(word) + by)
        if word.isdecimal() and int(word) < 1000 and name in _REVISIONS
        else word
        for name, word in zip(before, words, strict=False)
    ]


def code_of(remark: str) -> int:
    """The exit code that a remark claims."""
    claimed = re.search(r"exit code (\d+)", remark)
    return int(claimed[1]) if claimed else 0


def claims_of(remark: str) -> list[str]:
    """What a remark says that the answer has: JSON, or words in quotes after the exit code."""
    if "exit code" in remark:
        return re.findall(r'"([^"]+)"', remark)
    return re.findall(r'"\w+"(?:: (?:"[^"]*"|\[[^]]*\]|\w+))?', remark)


@pytest.mark.real
def test_the_examples_of_the_page_do_what_it_says(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with Cluster(tmp_path) as cluster:
        cluster.leader()
        nodes = ",".join(f"{node}={address}" for node, address in cluster.addresses.items())
        by = 0
        for number, (text, remark) in enumerate(examples()):
            capfd.readouterr()
            code = main(["--nodes", nodes, "--timeout", "60", *shifted(shlex.split(text), by)])
            said = "".join(capfd.readouterr())
            if number == 0:
                by = json.loads(said)["revision"] - FIRST_REVISION
            assert code == code_of(remark), (text, remark, said)
            for claim in claims_of(remark):
                assert claim in said, (text, remark, said)


@pytest.mark.real
def test_the_examples_of_a_leaderless_cluster_do_what_the_page_says(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with Cluster(tmp_path, "--role", "leaderless") as cluster:
        nodes = ",".join(f"{node}={address}" for node, address in cluster.addresses.items())
        shown = examples("leaderless")
        assert {text.split()[0] for text, _ in shown} >= {*WORDS, "put", "get"}
        for text, remark in shown:
            capfd.readouterr()
            code = main(["--nodes", nodes, "--timeout", "60", *shlex.split(text)])
            said = "".join(capfd.readouterr())
            assert code == code_of(remark), (text, remark, said)
            for claim in claims_of(remark):
                assert in_any_order(claim) in in_any_order(said), (text, remark, said)


def in_any_order(said: str) -> str:
    """Siblings are in the order of their actors, which are drawn."""
    return re.sub(r"\[[^]]*\]", lambda found: "".join(sorted(found[0])), said)


def test_the_page_has_an_example_of_every_word_of_the_core() -> None:
    shown = {text.split()[0] for text, _ in examples()}
    assert shown >= {
        "get", "put", "cas", "append", "incr", "delete", "transfer", "member", "range", "txn",
        "watch", "lease", "lock", "elect", "compact", "snapshot",
    }  # fmt: skip
    codes = {code_of(remark) for _, remark in examples()}
    assert codes >= {0, 1, 7, 254} and sum(bool(claims_of(r)) for _, r in examples()) > 30

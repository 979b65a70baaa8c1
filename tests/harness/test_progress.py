"""The line that shows where a run is."""

from __future__ import annotations

import io
from typing import ClassVar

import pytest

from harness.nemesis.base import Injection, Plan
from harness.progress import Progress, fault_in_words


class Run:
    """A run at a moment."""

    phase, now_ns, in_flight = "main", 2_000_000_000, 4

    class recorder:
        counts: ClassVar = {"ok": 90, "fail": 8, "info": 2, "invoke": 104}

    class faults:
        active: ClassVar = {
            1: (Plan(1, "partition", 0, 9), Injection([["n1"], ["n2", "n3"]], ["n1"])),
            2: (Plan(2, "kill", 0, 9), Injection(None, [], "skipped")),
        }


def test_the_line_has_figures_and_the_faults_in_force():
    line = Progress(limit_s=30, stream=io.StringIO()).line(Run())
    assert line == (
        "main         2.0 s  ok 90  fail 8  info 2  50/s  in flight 4  faults: partition n1 | n2,n3"
    )


def test_what_is_piped_is_plain_lines_and_quiet_is_nothing(monkeypatch):
    for quiet in (False, True):
        stream = io.StringIO()
        with Progress(limit_s=30, quiet=quiet, stream=stream) as progress:
            progress._shown_s -= 6
            progress.tick(Run())
            progress.tick(Run())
        said = stream.getvalue()
        assert said.count("\n") == (0 if quiet else 1) and "\x1b" not in said and "\r" not in said


@pytest.mark.parametrize(
    ("nemesis", "value", "nodes", "words"),
    [
        ("kill", ["n2"], ["n2"], "kill n2"),
        ("clock", {"kind": "jump", "offset_ns": -10**9, "rate": 1.0}, ["n1"],
         "clock-jump -1 s at n1"),
        ("packets-loss", {"kind": "loss", "loss": 0.2}, ["n1"], "packets-loss 20% at n1"),
        ("packets", {"kind": "delay", "delay_ns": 5_000_000}, ["n1"], "packets-delay 5 ms at n1"),
        ("disk", {"kind": "eio", "error": "EIO"}, ["n3"], "disk-eio EIO at n3"),
        ("disk-full", {"kind": "full", "full": True}, ["n3"], "disk-full at n3"),
        ("pressure", {"kind": "cpu", "cpu_share": 0.05}, ["n1"], "pressure-cpu 5% at n1"),
        ("mine", 7, [], "mine"),
    ],
)  # fmt: skip
def test_faults_in_words(nemesis, value, nodes, words):
    assert fault_in_words(nemesis, Injection(value, nodes)) == words

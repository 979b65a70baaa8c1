"""Goal: an interrupt ends ``harness check`` at once, cleanly, and with it the processes it began.

Method: the command as a real process, over files which a checker of our own takes for ever to
judge, having said which process it does so in.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

HISTORY = "{:process 0, :type :invoke, :f :read, :value nil}\n"
CHECKER = """
import os, pathlib, time

def endless(history):
    pathlib.Path(f"pid-{os.getpid()}").touch()
    time.sleep(600)
"""


def until(true: Callable[[], bool], limit_s: float = 120.0) -> None:
    """Wait for something to become true."""
    deadline_s = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.real
@pytest.mark.parametrize("count", [1, 3])
def test_an_interrupt_ends_everything(tmp_path: Path, count: int) -> None:
    (tmp_path / "slow_checker.py").write_text(CHECKER)
    names = [f"h{number}.edn" for number in range(count)]
    for name in names:
        (tmp_path / name).write_text(HISTORY)
    words = [sys.executable, "-m", "harness", "check", *names, "-m", "slow_checker:endless", "-j2"]
    process = subprocess.Popen(
        words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wanted = min(count, 2)
    try:
        until(lambda: len(list(tmp_path.glob("pid-*"))) == wanted)
        pids = [int(path.name.removeprefix("pid-")) for path in tmp_path.glob("pid-*")]
        assert (process.pid in pids) == (count == 1) and all(map(alive, pids))
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130, error
    assert out == "" and error == "harness: interrupted; nothing was checked\n"
    until(lambda: not any(map(alive, pids)))
    assert len(list(tmp_path.glob("pid-*"))) == wanted, "no further file was begun"

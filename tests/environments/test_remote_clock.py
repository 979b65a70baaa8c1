"""A clock at another rate stops where it is told to: nothing of the loop is written afterwards."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from harness.environments.clock import remote_clock

pytestmark = pytest.mark.real


def shell(script: str, *words: str) -> None:
    subprocess.run(["sh", "-c", script, "sh", *words], check=True, timeout=90)


def offset_s(file: Path) -> float:
    return float(file.read_text())


def test_a_clock_gains_at_its_rate_from_its_offset(tmp_path: Path) -> None:
    file = tmp_path / "offset"
    shell(remote_clock.SET, f"{tmp_path}/drifting.", str(file), "+5.000000000")
    words = (str(file), str(-(10**9)), str(9_000_000), remote_clock.DRIFT)
    began_s = time.monotonic()
    shell(remote_clock.START_DRIFT, f"{tmp_path}/drifting.1", *words)
    while offset_s(file) in (5.0, -1.0) or time.monotonic() < began_s + 0.5:
        assert time.monotonic() < began_s + 90
        time.sleep(0.05)
    gained_s, spent_s = offset_s(file) + 1, time.monotonic() - began_s
    shell(remote_clock.SET, f"{tmp_path}/drifting.", str(file), "+0.000000000")
    assert 0 < gained_s <= 9 * spent_s + 0.5
    assert file.read_text() == "+0.000000000\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["offset"]


def test_whoever_sets_the_clock_is_the_last_to_write(tmp_path: Path) -> None:
    """Set at any moment of the loop, from before its first turn on."""
    eager = remote_clock.DRIFT.replace("sleep 0.1", ":")
    for attempt in range(25):
        file = tmp_path / "offset"
        words = (str(file), "0", str(9_000_000), eager)
        shell(remote_clock.START_DRIFT, f"{tmp_path}/drifting.{attempt}", *words)
        time.sleep(0.004 * (attempt % 5))
        shell(remote_clock.SET, f"{tmp_path}/drifting.", str(file), "+7.000000000")
        for _ in range(5):
            assert file.read_text() == "+7.000000000\n", f"attempt {attempt}"
            time.sleep(0.004)

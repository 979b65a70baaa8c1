"""Exit codes where the surroundings fail: they must never look like a verdict."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HARNESS = [sys.executable, "-m", "harness"]


def test_a_current_directory_that_is_gone_is_a_sentence(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    script = f"cd {gone} && rmdir {gone} && exec {' '.join(HARNESS)} list models"
    env = dict(os.environ, PYTHONPATH=str(Path(__file__).resolve().parents[2]))
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, env=env)
    assert done.returncode == 254
    assert "does not exist any more" in done.stderr and "Traceback" not in done.stderr


def test_a_reader_that_leaves_is_no_verdict() -> None:
    root = Path(__file__).resolve().parents[2]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [*HARNESS, "patterns"], stdout=write, stderr=subprocess.PIPE, text=True, cwd=root
    )
    os.close(write)
    assert done.returncode == 3, done.stderr

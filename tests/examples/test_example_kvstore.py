"""The example and its how-to: a user who has only these gets the right verdicts.

Its own test file is run as a user runs it: by pytest, and by names on the command line.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.environments.docker import docker
from harness.errors import SetupError

pytestmark = pytest.mark.real
ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "kvstore"
HOWTO = ROOT / "docs" / "howto-your-own-system.md"


def run(tmp_path: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, "-m", *argv],
        cwd=EXAMPLE,
        env=variables,
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.fixture
def env(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An environment the how-to names, if it is to be had here."""
    if request.param == "docker":
        made = docker(nodes=["n1"], run_dir=tmp_path / "probe", seed=1)
        try:
            made.prepare(())
        except SetupError as error:
            pytest.skip(str(error))
    return str(request.param)


def on_the_command_line(tmp_path: Path, env: str, reads: str, nemesis: str):
    return run(
        tmp_path, "harness.cli", "test", "--db", "test_kvstore:KVStore", "--client",
        "test_kvstore:KVClient", "--workload", "test_kvstore:tickets", "--nemesis", nemesis,
        "--db-option", f"reads={reads}", "--time-limit", "8", "--nemesis-interval", "2",
        "--seed", "7", "--store", str(tmp_path), "--env", env,
    )  # fmt: skip


@pytest.mark.parametrize("env", ["local", "docker"], indirect=True)
def test_the_broken_variant_is_invalid(tmp_path: Path, env: str) -> None:
    done = on_the_command_line(tmp_path, env, "local", "partition")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "INVALID" in done.stdout


@pytest.mark.parametrize(
    "env", ["local", pytest.param("docker", marks=pytest.mark.slow)], indirect=True
)
def test_the_correct_one_is_valid_with_a_fault_of_its_own(tmp_path: Path, env: str) -> None:
    done = on_the_command_line(tmp_path, env, "majority", "partition,kill,test_kvstore:busy")
    assert done.returncode == 0, done.stdout + done.stderr
    # What it calls its logs came home before its teardown removed them.
    for node in ("n1", "n2", "n3"):
        assert (tmp_path / "latest" / "nodes" / node / "kv.log").stat().st_size


@pytest.mark.slow
def test_its_own_tests_pass(tmp_path: Path) -> None:
    done = run(tmp_path, "pytest", "-q", "-p", "no:cacheprovider", "--harness-store", str(tmp_path))
    assert done.returncode == 0, done.stdout


def test_the_how_to_shows_the_code_that_is_there() -> None:
    """Every line of Python the how-to shows is in the example, give or take comments."""

    def plain(text: str) -> set[str]:
        lines = (re.sub(r"\s+#.*$", "", line).strip() for line in text.splitlines())
        return {line for line in lines if line}

    shown = [line[4:] for line in HOWTO.read_text().splitlines() if line.startswith("    ")]
    code = [line for line in shown if re.match(r"\s*(class|async def|await|return) ", line)]
    known = plain((EXAMPLE / "test_kvstore.py").read_text())
    assert len(code) > 15
    assert [line for line in code if not plain(line) <= known] == []

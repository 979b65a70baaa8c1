"""A store without room, a run killed before it began, a key of megabytes, a talkative library."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness import cli
from harness.databases.in_memory import Atom, AtomClient
from harness.errors import SetupError
from harness.recorder import Recorder
from harness.runner import run
from harness.spec import TestSpec

ROOT = Path(__file__).resolve().parents[2]


def harness(tmp_path, *words, bytes_max=None, **more):
    """The command line in a process of its own, which may be forbidden to write large files."""

    def limited():
        if bytes_max is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_max, bytes_max))

    path = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
    return subprocess.run(
        [sys.executable, "-m", "harness", *words],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, preexec_fn=limited,
        capture_output=True, text=True, timeout=180, **more,
    )  # fmt: skip


# No room ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", [["--env", "sim"], ["--db", "atom"]], ids=["sim", "local"])
def test_a_history_that_cannot_be_written_is_the_stores_fault(tmp_path, where):
    words = ["test", *where, "--time-limit", "600", "--rate", "2000", "--seed", "3"]
    began_s = time.monotonic()
    done = harness(tmp_path, *words, bytes_max=300_000)
    assert done.returncode == 3, done.stderr
    assert "--store is 'store': File too large" in done.stderr
    assert "Traceback" not in done.stderr and "OSError" not in done.stderr
    assert time.monotonic() - began_s < 120, "it ends when it notices, not at the time limit"


@pytest.fixture
def small(tmp_path):
    """A file system of 300 kB."""
    place = tmp_path / "small"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", place],
                      capture_output=True, check=False).returncode:  # fmt: skip
        pytest.skip("a file system cannot be mounted here")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.real
def test_a_node_that_finds_no_room_in_the_store_is_the_stores_fault(tmp_path, small):
    done = harness(tmp_path, "test", "--time-limit", "5", "--seed", "3", "--store", str(small))
    assert done.returncode == 3, done.stderr
    assert f"--store is '{small}': No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_report_without_room_is_no_bug(tmp_path, small):
    assert harness(tmp_path, "test", "--env", "sim", "--time-limit", "3", "-q").returncode == 0
    (run_dir,) = tmp_path.glob("store/*/2*")
    full = small / "t" / "run"
    full.mkdir(parents=True)
    for name in ("spec.json", "results.json"):
        (full / name).write_bytes((run_dir / name).read_bytes())
    fill = os.open(small / "fill", os.O_WRONLY | os.O_CREAT)
    with pytest.raises(OSError, match="No space"):
        while True:
            os.write(fill, bytes(4096))
    os.close(fill)
    done = harness(tmp_path, "report", str(full))
    assert done.returncode == 3 and "No space left on device" in done.stderr
    assert "bug" not in done.stderr and "Traceback" not in done.stderr


def test_another_failure_is_not_blamed_on_a_store_with_room(tmp_path):
    class Fails(Atom):
        async def start(self, node):
            raise SetupError("no such port")

    with pytest.raises(SetupError, match=r"^no such port$"):
        run(TestSpec(env="sim", store=str(tmp_path)), db=Fails(), say=lambda line: None)


# Killed before it began ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "left", [None, b"", b'{"format":"history/1","te'], ids=["none", "empty", "torn"]
)
def test_a_run_killed_before_its_first_line_is_unknown(tmp_path, capsys, left):
    (tmp_path / "spec.json").write_text("{}")
    if left is not None:
        (tmp_path / "history.jsonl").write_bytes(left)
    assert cli.main(["check", str(tmp_path)]) == 2
    assert "ended before its first operation" in " ".join(capsys.readouterr().out.split())
    assert cli.main(["check", str(tmp_path / "history.jsonl"), "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["verdict"] == "unknown"


def test_the_header_is_written_before_anything_else(tmp_path):
    recorder = Recorder(tmp_path, {"test": "t", "seed": 1, "started": "", "nodes": []})
    assert (tmp_path / "history.jsonl").read_bytes().endswith(b"}\n")
    recorder.abandon()


@pytest.mark.real
def test_sigkill_while_nodes_start_is_unknown(tmp_path):
    path = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
    process = subprocess.Popen(
        [sys.executable, "-m", "harness", "test", "--db", "test_broken_stores:NeverReady"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    end_s = time.monotonic() + 60
    while not (found := list(tmp_path.glob("store/*/2*/environment.json"))):
        assert time.monotonic() < end_s
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = harness(tmp_path, "check", str(found[0].parent))
    assert done.returncode == 2, done.stdout + done.stderr
    assert harness(tmp_path, "heal").returncode == 0


class NeverReady(Atom):
    """A store that never serves."""

    async def ready(self, node):
        import asyncio

        await asyncio.sleep(3600)


# Large values -------------------------------------------------------------------------------------

LARGE = "k" * 2_000_000


class Stale(Atom):
    """Reads what was never written: INVALID with a large key in the finding."""

    def client(self):
        return StaleClient(self)


class StaleClient(AtomClient):
    """See :class:`Stale`."""

    async def invoke(self, op):
        return op.ok(-1) if op.f == "read" else await super().invoke(op)


def large_keys():
    """A few operations on one key of megabytes."""
    from checkers import linearizable, models
    from workloads import Workload
    from workloads import generator as gen

    names = [LARGE]
    return Workload(
        generator=gen.mix(gen.reads(names), gen.writes(names)).rate(5),
        checker=linearizable(models.register()),
    )


def too_large():
    """A generator that gives nonsense of megabytes."""
    from workloads import Workload
    from workloads import generator as gen

    class Wrong:
        def op(self, test, context):
            return gen.Op(LARGE, thread=99, time_ns=context.time_ns), self

        def update(self, test, context, event):
            return self

    return Workload(generator=Wrong(), checker=None)


@pytest.mark.parametrize("quiet", [[], ["-q"]], ids=["loud", "quiet"])
def test_a_key_of_megabytes_is_not_printed(tmp_path, quiet):
    words = [
        "test", "--env", "sim", "--db", "test_broken_stores:Stale", "--concurrency", "1",
        "--workload", "test_broken_stores:large_keys", "--time-limit", "2", "--seed", "1",
    ]  # fmt: skip
    done = harness(tmp_path, *words, *quiet)
    assert done.returncode == 1, done.stderr[-2000:]
    assert len(done.stdout) + len(done.stderr) < 20_000 and "kkkk" in done.stdout
    (run_dir,) = tmp_path.glob("store/*/2*")
    for name in ("summary.md", "junit.xml"):
        assert (run_dir / name).stat().st_size < 100_000
    checked = harness(tmp_path, "check", str(run_dir / "history.jsonl"))
    assert checked.returncode == 1 and len(checked.stdout) < 20_000


def test_a_mistake_of_megabytes_is_not_printed(tmp_path):
    done = harness(tmp_path, "test", "--env", "sim", "--workload", "test_broken_stores:too_large")
    assert done.returncode == 3
    assert "which is not free" in done.stderr and len(done.stderr) < 10_000
    done = harness(tmp_path, "test", "--workload", "x" * 100_000)
    assert done.returncode == 254 and len(done.stderr) < 10_000


# What libraries log -------------------------------------------------------------------------------


class Talkative(Atom):
    """A client whose libraries log and warn."""

    def client(self):
        return TalkativeClient(self)


class TalkativeClient(AtomClient):
    """See :class:`Talkative`."""

    async def invoke(self, op):
        import logging
        import warnings

        for name in ("paramiko.transport", "docker.api", "urllib3.connectionpool", "asyncio"):
            logging.getLogger(name).warning("%s lost its peer", name)
        warnings.warn("this call is old", DeprecationWarning, stacklevel=1)
        return await super().invoke(op)


@pytest.mark.parametrize("env", ["sim", "local"])
def test_what_libraries_log_goes_to_the_runs_log(tmp_path, env):
    words = ["--db", "test_broken_stores:Talkative", "--time-limit", "1", "--rate", "20"]
    done = harness(tmp_path, "test", "--env", env, *words)
    # A busy machine may do too little in a second for a verdict.
    assert done.returncode in (0, 2), done.stderr
    assert "lost its peer" not in done.stdout + done.stderr
    assert "this call is old" not in done.stdout + done.stderr
    (log,) = tmp_path.glob("store/*/2*/harness.log")
    text = log.read_text("utf-8")
    for name in ("paramiko.transport", "docker.api", "urllib3.connectionpool", "asyncio"):
        assert f"WARNING {name} {name} lost its peer" in text


def test_a_programs_own_handlers_are_left_alone(tmp_path):
    import logging

    class Kept(logging.Handler):
        said: list[str] = []  # noqa: RUF012

        def emit(self, record):
            self.said.append(record.getMessage())

    root, kept = logging.getLogger(), Kept()
    root.addHandler(kept)
    before = list(root.handlers)
    try:
        spec = TestSpec(env="sim", time_limit_s=1.0, rate_hz=5.0, store=str(tmp_path), quiet=True)
        run(spec, db=Talkative(), say=lambda line: None)
        assert root.handlers == before and "asyncio lost its peer" in kept.said
    finally:
        root.removeHandler(kept)

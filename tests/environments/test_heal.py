"""The harness is killed; what it left must go, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from arms import PATIENCE_S

from harness.environments import processes, record
from harness.environments.processes import ProcessId
from harness.heal import Healing, heal_run, heal_store, open_faults, orphan
from harness.runner import run
from harness.spec import TestSpec
from harness.store import point_latest

pytestmark = pytest.mark.real
HOLDER = str(Path(__file__).with_name("holder.py"))


def hold(run_dir: Path, watchdog: str) -> tuple[subprocess.Popen[str], record.Record]:
    child = subprocess.Popen(
        [sys.executable, HOLDER, str(run_dir), watchdog], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    found = record.load(run_dir)
    assert found is not None
    return child, found


def wait_for(true: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline_s, "it did not happen"
        time.sleep(0.05)


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process which looks like a node but is nobody's."""
    child = subprocess.Popen(["sleep", "600"], start_new_session=True)
    yield child
    assert child.poll() is None
    child.kill()
    child.wait()


def kill(child: subprocess.Popen[str]) -> None:
    child.kill()
    child.wait()
    assert child.stdout is not None
    child.stdout.close()


def test_the_watchdog_heals(tmp_path: Path, bystander: subprocess.Popen[bytes]) -> None:
    child, found = hold(tmp_path, "watchdog")
    # 4 nodes' processes with a daemon's child, its shell, the proxy and the watchdog.
    wait_for(lambda: len(processes.of_run(found.run_id)) >= 7)
    kill(child)
    wait_for(lambda: not processes.of_run(found.run_id))
    # One that is ending has no environment any more, and is there for a moment yet.
    wait_for(lambda: not any(processes.running(each.process) for each in found.processes))
    assert not (tmp_path / "nodes" / "n2" / "faketime").exists()
    after = record.load(tmp_path)
    assert after is not None and after.state == "clean"
    assert [note["by"] for note in after.healed] == ["watchdog"]
    assert "nothing to do" in heal_run(tmp_path).sentence


def test_ctrl_c_reaches_neither_watchdog_nor_proxy(tmp_path: Path) -> None:
    child, found = hold(tmp_path, "watchdog")
    groups = {found.pid: found.group for found in processes.all_stats()}
    ours = groups[child.pid]
    assert all(groups[each.process.pid] != ours for each in found.processes)
    kill(child)
    wait_for(lambda: not processes.of_run(found.run_id))


def test_heal_without_a_watchdog_and_again(
    tmp_path: Path, bystander: subprocess.Popen[bytes]
) -> None:
    run_dir = tmp_path / "test" / "run"
    child, found = hold(run_dir, "none")
    (run_dir / "faults.jsonl").write_text(
        '{"t":1,"id":1,"nemesis":"partition","phase":"begin"}\n'
        '{"t":2,"id":2,"nemesis":"pause","phase":"intent"}\n'
        '{"t":3,"id":1,"nemesis":"partition","phase":"end"}\n'
        '{"t":4,"id":3,"neme'
    )
    alive = heal_run(run_dir)
    assert f"still in progress in pid {child.pid}" in alive.sentence
    wait_for(lambda: len(processes.of_run(found.run_id)) >= 6)
    kill(child)
    (healing,) = heal_store(tmp_path)
    assert healing.clean and len(healing.stopped) >= 5
    assert healing.open_faults == ["#2 pause"]
    assert processes.of_run(found.run_id) == []
    for _ in range(2):
        again = heal_run(run_dir)
        assert again.clean and again.stopped == [] and "nothing to do" in again.sentence
    assert heal_store(tmp_path) == []


def test_the_next_run_says_how_to_heal_the_one_that_died(tmp_path: Path) -> None:
    store = tmp_path / "store"
    said: list[str] = []
    run_dir = store / "test" / "run"
    child, found = hold(run_dir, "none")
    point_latest(run_dir)
    assert orphan(store) is None, "it is in progress"
    kill(child)
    assert orphan(store) == run_dir
    spec = TestSpec(env="sim", time_limit_s=0.5, store=str(store), no_report=True)
    run(spec, say=said.append)
    assert f"`harness heal {run_dir}`" in said[0]
    assert heal_run(run_dir).clean and processes.of_run(found.run_id) == []
    point_latest(run_dir)
    assert orphan(store) is None, "it is clean"
    assert orphan(tmp_path / "nowhere") is None
    (store / "latest").unlink()
    (store / "latest").symlink_to(tmp_path)
    found.save(tmp_path)
    assert orphan(store) is None, "it is outside the store"


def test_a_run_whose_watchdog_lives_is_no_orphan(tmp_path: Path) -> None:
    child, found = hold(tmp_path / "test" / "run", "watchdog")
    point_latest(tmp_path / "test" / "run")
    (watchdog,) = (each.process for each in found.processes if each.role == "watchdog")
    os.kill(watchdog.pid, signal.SIGSTOP)
    kill(child)
    assert orphan(tmp_path) is None, "the watchdog is about to heal it"
    os.kill(watchdog.pid, signal.SIGCONT)
    wait_for(lambda: not processes.of_run(found.run_id))


def test_a_heal_says_what_it_did() -> None:
    done = Healing("store/run", removed=["container a", "network b"], open_faults=["#1 pause"])
    wanted = "store/run: removed 2 things (container a, network b), faults open: #1 pause"
    assert done.sentence == wanted
    assert Healing("store/run", stopped=["sh"]).sentence == "store/run: ended 1 processes (sh)"


def test_healing_what_is_no_run_does_nothing(tmp_path: Path) -> None:
    assert "started nothing" in heal_run(tmp_path).sentence
    assert "started nothing" in heal_run(tmp_path / "missing").sentence
    assert heal_store(tmp_path / "missing") == []
    (tmp_path / "environment.json").write_text("{torn")
    assert "started nothing" in heal_run(tmp_path).sentence
    assert open_faults(tmp_path) == []


def test_a_recycled_pid_and_another_boot_are_left_alone(
    tmp_path: Path, bystander: subprocess.Popen[bytes]
) -> None:
    real = processes.identify(bystander.pid)
    assert real is not None
    recycled = ProcessId(real.pid, real.start_ticks - 7)
    made = record.new("local", "no-such-run", None)
    made.processes = [record.StartedProcess("node", "n1", recycled)]
    made.save(tmp_path)
    assert heal_run(tmp_path).stopped == []
    other_boot = msgspec.structs.replace(made, boot="another", state="running")
    other_boot.processes = [record.StartedProcess("node", "n1", real)]
    other_boot.save(tmp_path)
    assert "restarted since" in heal_run(tmp_path).sentence
    os.kill(bystander.pid, signal.SIGCONT)

"""A stranger's ``environment.json``: nothing it says is obeyed, and nothing outside is touched.

Programs are shims that write down that they were called; a process, files, and (as root) a mount
and a namespace stand for what is somebody else's.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from forged import NASTY, SHELL, changed, forged, hashes, places, shims, write

from harness.cli import main
from harness.environments import marks, processes, record
from harness.environments.disk import disks
from harness.environments.machines import host
from harness.environments.network import netem
from harness.environments.network.netem import Peer, Tools
from harness.environments.pressure import remote as remote_pressure
from harness.environments.record import Consent
from harness.heal import heal_run, heal_store

pytestmark = pytest.mark.real
ENVIRONMENTS = ("local", "netns", "docker", "ssh", "sim", "no-such")


class Stage:
    """A forged run, what it points at, and what was called."""

    def __init__(self, root: Path) -> None:
        self.outside, self.run_dir = root / "outside", root / "store" / "t" / "run"
        for folder in (self.outside / "group", self.run_dir / "nodes" / "n1", root / "shims"):
            folder.mkdir(parents=True)
        self.canary = self.outside / "canary"
        self.canary.write_text("somebody's")
        self.victim = subprocess.Popen(["sleep", "86400"], start_new_session=True)
        self.called = shims(root / "shims")
        self.path = root / "shims"
        self.record = self.run_dir / record.NAME
        (self.run_dir / "spec.json").write_text("{}")
        self._before = hashes(self.outside)

    def forge(self, environment: str) -> dict[str, Any]:
        return forged(self.run_dir, environment, self.victim.pid, self.canary)

    def check(self, case: object) -> None:
        """Nothing was called, and what is outside is as it was."""
        assert self.called.read_text() == "", case
        assert self.victim.poll() is None, case
        assert hashes(self.outside) == self._before, case


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    made = Stage(tmp_path)
    monkeypatch.setenv("PATH", str(made.path))
    monkeypatch.chdir(made.outside)
    yield made
    made.victim.kill()
    made.victim.wait()


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_what_a_record_names_is_refused_by_name(
    environment: str, stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    write(stage.record, stage.forge(environment))
    assert main(["heal", str(stage.run_dir)]) == 3
    said = capsys.readouterr().out
    stage.check(said)
    assert f"pid {stage.victim.pid} (sleep) does not carry the run's mark" in said
    assert f"file '{stage.canary}' does not carry" in said
    wanted = {
        "local": ["mount /proc does", "control group /sys/fs/cgroup does"],
        "netns": ["mount /proc does", "interface 'lo' does", f"namespace {stage.canary} does"],
        "docker": ["container 'somebody-elses' does"],
        "ssh": ["the place of 'n1' does", "the place of '../../n2' does"],
    }
    for words in wanted.get(environment, []):
        # Which containers there are, only Docker's daemon can say.
        assert words in said or (environment == "docker" and "daemon" in said), said
    assert all(line.count("refused: ") == 1 for line in said.splitlines()[1:])


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("mark", ["", "x", "another-run", SHELL, "a-" + "0" * 12 + "-" + "0" * 24])
def test_a_wrong_mark_is_nobodys(environment: str, mark: str, stage: Stage) -> None:
    write(stage.record, {**stage.forge(environment), "run_id": mark})
    healing = heal_run(stage.run_dir, consent=Consent(trust_hosts=True))
    stage.check(mark)
    assert not (healing.clean or healing.stopped or healing.removed)
    assert "its mark" in healing.refused[0]
    assert any(f"pid {stage.victim.pid} (sleep)" in said for said in healing.refused)


@pytest.mark.parametrize("environment", ["docker", "ssh", "local", "netns"])
def test_another_machines_boot_is_refused(environment: str, stage: Stage) -> None:
    write(stage.record, {**stage.forge(environment), "boot": "another"})
    healing = heal_run(stage.run_dir, consent=Consent(trust_hosts=True))
    stage.check(healing)
    assert "restarted since, or it is another" in " ".join(healing.sentences)
    assert healing.clean == (environment in ("local", "netns"))
    assert not (healing.stopped or healing.removed)


def test_a_copy_of_a_record_has_no_power_over_the_run(tmp_path: Path) -> None:
    mark = marks.new(tmp_path)
    variables = {**os.environ, processes.RUN_VARIABLE: mark}
    child = subprocess.Popen(["sleep", "86400"], env=variables, start_new_session=True)
    try:
        made = record.new("local", mark, None)
        copied = tmp_path / "copied"
        copied.mkdir()
        made.save(copied)
        (said, *_) = heal_run(copied).refused
        assert "made for another directory" in said and child.poll() is None
        made.save(tmp_path)
        assert heal_run(tmp_path).stopped == [f"pid {child.pid} (sleep)"]
        assert child.poll() is not None
    finally:
        child.kill()
        child.wait()


def test_a_process_that_overwrote_its_mark_is_known_by_its_log(tmp_path: Path) -> None:
    """As PostgreSQL and Redis do; somebody's process with the same pid in the record is not."""
    log = tmp_path / "nodes" / "n1" / "log"
    log.parent.mkdir(parents=True)
    with log.open("ab") as file:
        ours = subprocess.Popen(["sleep", "86400"], stdout=file, start_new_session=True)
    theirs = subprocess.Popen(["sleep", "86400"], start_new_session=True)
    try:
        made = record.new("local", marks.new(tmp_path), None)
        for child in (ours, theirs):
            found = processes.identify(child.pid)
            assert found is not None
            made.processes.append(record.StartedProcess("node", "n1", found))
        made.save(tmp_path)
        healing = heal_run(tmp_path)
        assert healing.stopped == [f"pid {ours.pid} (sleep)"]
        assert healing.refused == [marks.refusal(f"pid {theirs.pid} (sleep)")]
        assert theirs.poll() is None
    finally:
        for child in (ours, theirs):
            child.kill()
            child.wait()


def test_files_and_data_are_removed_in_the_run_alone(tmp_path: Path) -> None:
    outside, run_dir = tmp_path / "outside", tmp_path / "run"
    outside.mkdir()
    (outside / "faketime").write_text("somebody's")
    (outside / "data").mkdir()
    (outside / "data" / "file").write_text("somebody's")
    for node in ("n1", "n2"):
        (run_dir / "nodes" / node / "data").mkdir(parents=True)
    (run_dir / "nodes" / "n1" / "faketime").write_text("+0")
    (run_dir / "nodes" / "n1" / "data" / "link").symlink_to(outside)
    (run_dir / "nodes" / "n2" / "faketime").symlink_to(outside / "faketime")
    (run_dir / "nodes" / "n2" / "data").rmdir()
    (run_dir / "nodes" / "n2" / "data").symlink_to(outside / "data")
    (run_dir / "nodes" / "n3").symlink_to(outside)
    (run_dir / "history.jsonl").write_text("{}")
    before = hashes(outside)
    made = record.new("local", marks.new(run_dir), None)
    made.nodes = {"n1": {}, "n2": {}, "n3": {}, "..": {}}
    made.files = [f"{run_dir}/nodes/n{number}/faketime" for number in (1, 2, 3)]
    made.files += [f"{run_dir}/history.jsonl", f"{run_dir}/nodes/../../outside/faketime"]
    made.save(run_dir)
    healing = heal_run(run_dir)
    assert hashes(outside) == before and (run_dir / "history.jsonl").exists()
    assert healing.removed == [made.files[0], f"directory {run_dir}/nodes/n1/data"]
    assert len(healing.refused) == 4 and len(healing.left) == 2, healing


def test_the_record_is_written_over_no_link(tmp_path: Path) -> None:
    run_dir, canary = tmp_path / "run", tmp_path / "canary"
    run_dir.mkdir()
    canary.write_text("somebody's")
    (run_dir / f"{record.NAME}.new").symlink_to(canary)
    made = record.new("local", marks.new(run_dir), None)
    made.save(run_dir)
    assert heal_run(run_dir).clean
    assert canary.read_text() == "somebody's" and json.loads((run_dir / record.NAME).read_text())


def test_mounts_and_namespaces_of_others_stay(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("a mount and a namespace need root")
    theirs, run_dir = tmp_path / "theirs", tmp_path / "run"
    own = run_dir / "nodes" / "n1" / "data"
    for folder in (theirs, own):
        folder.mkdir(parents=True)
    mark = marks.new(run_dir)
    name = f"sb-{marks.digest(marks.new(theirs))}-n1"
    commands = [("mount", "-t", "tmpfs", "tmpfs", str(place)) for place in (theirs, own)]
    commands += [("ip", "netns", "add", each) for each in (name, f"sb-{marks.digest(mark)}-n1")]
    for words in commands:
        if subprocess.run(words, capture_output=True).returncode:
            for place in (theirs, own):
                subprocess.run(["umount", str(place)], capture_output=True)
            pytest.skip(f"{' '.join(words[:2])} is not allowed here")
    try:
        (theirs / "file").write_text("somebody's")
        (run_dir / "nodes" / "n2").symlink_to(theirs)
        made = record.new("netns", mark, None)
        made.nodes = {"n1": {}}
        made.detail = {
            "namespaces": [name, f"sb-{marks.digest(mark)}-n1"],
            "mounts": [str(theirs), str(own), f"{run_dir}/nodes/n2"],
        }
        made.save(run_dir)
        healing = heal_run(run_dir)
        assert (theirs / "file").read_text() == "somebody's"
        assert Path("/run/netns", name).exists()
        assert sorted(healing.refused) == [
            marks.refusal(f"mount {theirs}"), marks.refusal(f"namespace {name}"),
        ]  # fmt: skip
        assert f"mount {own}" in healing.removed and not own.exists()
        assert f"namespace sb-{marks.digest(mark)}-n1" in healing.removed
    finally:
        subprocess.run(["umount", str(theirs)], check=True)
        subprocess.run(["ip", "netns", "del", name], check=True)


# Scripts ------------------------------------------------------------------------------------------


def scripts(word: str) -> dict[str, str]:
    """Every script that is made of words from a record or from a host, by who makes it."""
    place = {"home": f"/{word}", "place": word, "devices": [word, "eth0"]}
    peer = [Peer(1, "n1", "10.0.0.1", word)]
    return {
        "links left": netem.left_script([word]),
        "links removed": netem.remove_script([word]),
        "links read": netem.read_script(Tools("nft", True), peer),
        "left on a host": host.left_script(place),
        "removed on a host": host.remove_script(place),
        "remains": host.remains_script(f"/{word}", word),
        "clean": host.clean_script(f"/{word}", word),
        "frozen": host.freeze_script(word, on=True),
        "unmounted": disks.unmount_script(word),
        "released": remote_pressure.release_script(word, f"/{word}"),
        "groups left": remote_pressure.left_script(word),
        "squeezed": remote_pressure.host_script(word, "echo", f"/{word}", {}),
    }


@pytest.mark.parametrize("mounted", [True, False])
@pytest.mark.parametrize("what", scripts("x"))
def test_words_in_scripts_are_quoted(what: str, mounted: bool, tmp_path: Path) -> None:
    if mounted:  # a grep that always finds leads into what is done only where something is
        shims(tmp_path, ("grep",), code=0)
    called = shims(tmp_path, ("nft", "tc", "ip", "umount", "iptables", "rmdir", "mkdir"))
    subprocess.run(
        ["sh", "-c", scripts(SHELL)[what]],
        cwd=tmp_path,
        env={"PATH": f"{tmp_path}:/usr/sbin:/usr/bin:/sbin:/bin"},
        capture_output=True,
        timeout=60,
    )
    assert not (tmp_path / "PWNED").exists(), called.read_text()


# Every field --------------------------------------------------------------------------------------


def fuzz(stage: Stage, cases: int | None) -> None:
    """Put something wrong into each field of each record, and heal."""
    every = [
        (forged_record, path, new)
        for forged_record in map(stage.forge, ENVIRONMENTS)
        for path in places(forged_record)
        for new in NASTY
    ]
    some = every if cases is None else random.Random("heal").sample(every, cases)
    for given, path, new in some:
        case = (given["environment"], path, repr(new)[:60])
        write(stage.record, changed(given, path, new))
        (stage.run_dir / "faults.jsonl").write_bytes(json.dumps({"id": new}).encode())
        code = main(["heal", str(stage.run_dir)])
        assert code in (0, 3), case
        stage.check(case)


def test_no_field_of_a_record_gives_power(stage: Stage, capfd: pytest.CaptureFixture[str]) -> None:
    fuzz(stage, 250)
    assert "\x1b" not in capfd.readouterr().out


@pytest.mark.slow
def test_no_field_of_any_record_gives_power(stage: Stage) -> None:
    fuzz(stage, None)


def test_deep_huge_and_unreadable_records_are_said(tmp_path: Path) -> None:
    path = tmp_path / record.NAME
    for content in (b"[" * 100_000, b"\xff\xfe", b'{"environment":"local"}', b"null", b""):
        path.write_bytes(content)
        healing = heal_run(tmp_path)
        assert not healing.clean and "cannot be read" in healing.refused[0]
        assert [each.clean for each in heal_store(tmp_path)] == [False]
    with path.open("wb") as file:
        file.truncate(1 << 40)
    assert "larger than 16 MB" in heal_run(tmp_path).refused[0]
    path.unlink()
    os.mkfifo(path)
    assert "a FIFO" in heal_run(tmp_path).refused[0]


def test_a_watchdog_heals_the_run_whose_mark_it_carries(tmp_path: Path) -> None:
    record.new("local", marks.new(tmp_path), None).save(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "harness.watchdog", str(tmp_path)],
        input=b"",
        capture_output=True,
        timeout=60,
        env={**os.environ, processes.RUN_VARIABLE: "another"},
    )
    assert done.returncode == 3 and b"its mark is not the watchdog's" in done.stdout

"""`harness list nemeses --env E`."""

from __future__ import annotations

import pytest

from harness.cli import main
from harness.commands.abilities import _kinds_not_here, rows
from harness.errors import UsageError
from harness.nemesis import compose, require
from harness.registry import find


def test_the_simulation_has_no_kernel_to_starve_its_nodes_with():
    found = {row.name: row for row in rows("sim")}
    assert found["partition"].works and found["disk"].works
    assert not found["pressure"].works
    assert found["pressure"].note == (
        "sim has no ability 'pressure'; environments with it: local, netns, docker, ssh"
    )


def test_what_an_environment_refuses_is_what_the_table_says(capsys, tmp_path):
    assert main(["list", "nemeses", "--env", "sim"]) == 0
    assert "pressure" in capsys.readouterr().out
    store = tmp_path / "store"
    words = ["test", "--env", "sim", "--nemesis", "pressure", "--store", str(store)]
    assert main(words) == 254
    said = capsys.readouterr().err
    assert "needs the ability 'pressure'" in said and "local, netns, docker, ssh" in said
    assert not store.exists()


@pytest.mark.parametrize("env", ["docker", "ssh"])
def test_files_that_are_not_this_machines_are_not_damaged(env, tmp_path):
    options = {"hosts": "db1,db2", "dir": "/var/tmp"} if env == "ssh" else {}
    made = find("environment", env)(nodes=["n1", "n2"], run_dir=tmp_path, seed=1, options=options)
    assert require(compose("disk"), made) == {"disk"}
    with pytest.raises(UsageError, match="'disk-lost-tail' needs the ability 'files': the end of"):
        require(compose("disk-lost-tail"), made)
    assert _kinds_not_here("disk", made) == ["not here: lost-tail"]


def test_every_kind_of_disk_fault_is_had_where_files_are_at_hand():
    found = {row.name: row for row in rows("sim")}
    assert "not here" not in found["disk"].note


def test_mistakes_are_sentences(capsys):
    assert main(["list", "nemeses", "--env", "simm"]) == 254
    assert "did you mean 'sim'" in capsys.readouterr().err
    assert main(["list", "models", "--env", "sim"]) == 254
    assert "goes with `harness list nemeses`" in capsys.readouterr().err


def test_each_workload_is_described_in_words_of_its_own() -> None:
    from harness.commands.listing import _workloads

    said = [entry.about for entry in _workloads()]
    assert len(set(said)) == len(said) and not any("The workloads" in text for text in said)

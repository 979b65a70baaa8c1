"""`harness list nemeses --env E`."""

from __future__ import annotations

from harness.cli import main
from harness.commands.abilities import rows


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


def test_mistakes_are_sentences(capsys):
    assert main(["list", "nemeses", "--env", "simm"]) == 254
    assert "did you mean 'sim'" in capsys.readouterr().err
    assert main(["list", "models", "--env", "sim"]) == 254
    assert "goes with `harness list nemeses`" in capsys.readouterr().err

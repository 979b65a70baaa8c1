"""Run directories: safe names, fresh directories, links that point at the latest."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.cli import main
from harness.errors import SetupError, UsageError
from harness.store import (
    create_run_dir,
    discard,
    find_run,
    missing_dirs,
    point_latest,
    safe_name,
    write_json,
)


@given(st.text(max_size=200))
def test_no_name_escapes_the_store(name):
    safe = safe_name(name)
    assert safe and not safe.startswith(".") and os.sep not in safe and "\0" not in safe
    assert len(safe) <= 80 and ".." not in safe
    assert safe_name(safe) == safe


def test_runs_of_one_second_have_directories_of_their_own(tmp_path):
    made = {create_run_dir(tmp_path, "../../etc", 7) for _ in range(3)}
    assert len(made) == 3
    assert all(path.parent.parent == tmp_path for path in made)


def test_latest_points_at_the_last_run_and_is_found(tmp_path):
    for seed in (1, 2):
        run_dir = create_run_dir(tmp_path, "t", seed)
        (run_dir / "spec.json").write_text("{}")
        point_latest(run_dir)
    for words in ("latest", "t", str(run_dir), str(tmp_path / "t")):
        assert find_run(words, store=str(tmp_path)) == run_dir.resolve()
    with pytest.raises(UsageError, match="there is no run at 'u'"):
        find_run("u", store=str(tmp_path))


def test_a_file_in_the_way_is_a_sentence_and_is_not_replaced(tmp_path):
    (tmp_path / "store").write_text("mine")
    with pytest.raises(SetupError, match="--store"):
        create_run_dir(tmp_path / "store", "t", 1)
    (tmp_path / "latest").write_text("mine")
    run_dir = create_run_dir(tmp_path, "t", 1)
    point_latest(run_dir)
    assert (tmp_path / "latest").read_text() == "mine"


def test_a_discarded_run_leaves_what_was_there_and_nothing_else(tmp_path):
    store = tmp_path / "deep" / "store"
    made = missing_dirs(store, "t")
    assert made == [store / "t", store, tmp_path / "deep"]
    discard(create_run_dir(store, "t", 1), made=made)
    assert os.listdir(tmp_path) == []

    mine = tmp_path / "mine"
    mine.mkdir()
    made = missing_dirs(mine, "t")
    discard(create_run_dir(mine, "t", 1), made=made)
    assert os.listdir(tmp_path) == ["mine"] and os.listdir(mine) == []

    (store / "t" / "kept").mkdir(parents=True)
    discard(create_run_dir(store, "t", 1), made=[store / "t"])
    assert os.listdir(store / "t") == ["kept"]


@pytest.mark.parametrize("env", ["netns", "docker", "ssh"])
def test_a_machine_that_cannot_leaves_no_run(env, tmp_path, monkeypatch, capsys):
    """What an environment lacks is said before anything happens, and nothing is left of it."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    words = ["--nodes", "nobody@127.0.0.1:1,nobody@127.0.0.2:1,nobody@127.0.0.3:1"]
    words = words if env == "ssh" else []
    store = tmp_path / "store"
    store.mkdir()
    code = main(["test", "--env", env, "--nemesis", "packets", "--store", str(store), *words])
    said = capsys.readouterr().err
    assert code in (3, 254) and said.strip() and "Traceback" not in said
    assert os.listdir(store) == []


def test_json_is_whole_or_not_there(tmp_path):
    write_json(tmp_path / "x.json", {"a": {1, 2}, "b": object})
    assert (tmp_path / "x.json").read_text().endswith("\n")
    assert os.listdir(tmp_path) == ["x.json"]

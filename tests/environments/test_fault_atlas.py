"""The fault atlas counts the voters of every configuration that may be in force, not nodes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from harness.environments import damaged_files
from harness.environments.damaged_files import DamageAtRest
from harness.environments.disk.atlas import FaultAtlas

FIVE = ("n1", "n2", "n3", "n4", "n5")


def atlas_of_five(*damaged: str) -> FaultAtlas:
    atlas = FaultAtlas(spare=2)
    for node in damaged:
        atlas.note(node)
    return atlas


def test_without_a_word_of_the_nodes_all_of_them_count() -> None:
    atlas = atlas_of_five("n1")
    assert atlas.why_no_damage("n2") == ""
    atlas.note("n2")
    assert atlas.why_no_damage("n3") == "the disks of n1, n2 are damaged: no other may be"


def test_two_of_three_voters_are_not_damaged_although_there_are_five_nodes() -> None:
    atlas = atlas_of_five("n1")
    atlas.heard("n1", {"members": ["n1", "n2", "n3"], "outgoing": []})
    assert "of the voters n1, n2, n3 may be" in atlas.why_no_damage("n2")
    assert atlas.why_no_damage("n4") == "", "n4 does not vote"
    atlas.repaired("n1")
    assert atlas.why_no_damage("n2") == ""


def test_the_voters_of_a_change_under_way_count_and_an_old_view_too() -> None:
    atlas = atlas_of_five("n4")
    atlas.heard("n1", {"members": ["n1", "n2", "n3", "n4", "n5"], "outgoing": ["n3", "n4", "n5"]})
    assert "n3, n4, n5" in atlas.why_no_damage("n5")
    assert atlas.why_no_damage("n1") == ""
    atlas.heard("n1", {"members": ["n1", "n2", "n3", "n4", "n5"], "outgoing": []})
    assert atlas.why_no_damage("n5") == ""
    atlas.heard("n2", {"members": ["n4", "n5"], "outgoing": []})
    assert "n4, n5" in atlas.why_no_damage("n5")


def test_of_five_nodes_only_one_is_damaged_where_a_key_lives_on_three_of_them() -> None:
    atlas = FaultAtlas(spare=2)
    atlas.heard("n1", {"members": list(FIVE), "outgoing": [], "replicas": 3})
    assert atlas.why_no_damage("n4") == ""
    atlas.note("n4")
    assert atlas.why_no_damage("n5") == "the disks of n4 are damaged: no other may be"


def test_a_member_that_came_back_under_another_id_is_the_same_node() -> None:
    atlas = atlas_of_five("n1")
    atlas.heard("n3", {"members": ["n1~2", "n2", "n3"], "outgoing": []})
    assert atlas.why_no_damage("n2") != ""


def test_the_groups_of_a_data_node_have_voters_of_their_own() -> None:
    atlas = atlas_of_five("n4")
    row = {"group": "g-n4", "members": ["n4", "n5", "n1"], "outgoing": []}
    atlas.heard("n1", {"members": [], "outgoing": [], "groups": [row]})
    assert "n1, n4, n5" in atlas.why_no_damage("n5")
    assert atlas.why_no_damage("n2") == ""


def test_the_only_voter_is_never_damaged() -> None:
    atlas = atlas_of_five()
    atlas.heard("n1", {"members": ["n1"], "outgoing": []})
    assert atlas.why_no_damage("n1") == "the disk of n1 is needed for a majority of the voters n1"


def test_before_files_are_damaged_all_nodes_are_asked_who_votes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    said = {"n1": {"members": ["n1", "n2", "n3"], "outgoing": []}, "n2": None}

    async def status(node: str) -> Any:
        return said.get(node)

    monkeypatch.setattr(damaged_files, "_status", status)
    monkeypatch.setattr(damaged_files, "_data_of", lambda node: tmp_path)
    atlas = atlas_of_five("n1")
    files = DamageAtRest(atlas, FIVE, lambda name: name)  # type: ignore[arg-type,return-value]
    done = asyncio.run(files.damage("n2", "flip", 1))
    assert done["skipped"] and "of the voters n1, n2, n3" in done["why"]
    assert atlas.damaged == ["n1"]

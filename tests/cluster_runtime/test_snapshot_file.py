"""The file of `snapshot save`: whole or refused, whatever became of it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.client.snapshot_file import BadSnapshot, SnapshotWriter, read_snapshot

ROWS: list[tuple[str, Any]] = [("a", 1), ("b/ü", [1, {"x": None}]), ("c", "\n\u2028"), ("d", 1.5)]


def saved(tmp_path: Path, rows: list[tuple[str, Any]] = ROWS) -> Path:
    file = tmp_path / "keys"
    with SnapshotWriter(file, 41) as out:
        for key, value in rows:
            out.add(key, value)
    assert out.keys == len(rows)
    return file


def test_what_was_saved_is_read(tmp_path: Path) -> None:
    assert read_snapshot(saved(tmp_path)) == (41, ROWS)
    assert [path.name for path in tmp_path.iterdir()] == ["keys"]
    (tmp_path / "empty").mkdir()
    assert read_snapshot(saved(tmp_path / "empty", [])) == (41, [])


@given(data=st.data())
def test_a_file_that_is_torn_or_damaged_anywhere_is_refused(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = saved(tmp_path_factory.mktemp("torn"))
    whole = file.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        file.write_bytes(whole[:place])
    else:
        bit = 1 << data.draw(st.integers(0, 7))
        file.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
    with pytest.raises(BadSnapshot):
        read_snapshot(file)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "is no snapshot of keys"),
        (b"\xff\xfe", "is no snapshot of keys"),
        (b'{"key": "a", "value": 1}\n', "is no snapshot of keys"),
        (b'{"format": "splitbrain-keys", "version": 2}\n', "is a snapshot of version 2, and this"),
        (b'{"format": "splitbrain-keys", "version": 1, "revision": 1}\n', "is torn"),
        (b"[" * 100_000, "is no snapshot of keys"),
    ],
)
def test_a_foreign_file_is_one_sentence(data: bytes, sentence: str, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_bytes(data)
    with pytest.raises(BadSnapshot, match=sentence) as refused:
        read_snapshot(file)
    assert str(file) in str(refused.value) and "\n" not in str(refused.value)


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # one that is waited for, and a device without an end
    for file in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(BadSnapshot, match="is no regular file"):
            read_snapshot(file)


def test_a_line_taken_out_is_noticed_by_the_count_too(tmp_path: Path) -> None:
    """A checksum that fits, of fewer keys than are named."""
    import hashlib

    file = saved(tmp_path)
    lines = file.read_bytes().splitlines(keepends=True)
    body = b"".join(lines[:-2])
    footer = {"keys": 4, "sha256": hashlib.sha256(body).hexdigest()}
    file.write_bytes(body + json.dumps(footer).encode() + b"\n")
    with pytest.raises(BadSnapshot, match="it names 4 keys and has 3"):
        read_snapshot(file)


def test_a_save_that_fails_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), SnapshotWriter(tmp_path / "keys", 1) as out:
        out.add("a", 1)
        raise RuntimeError("the cluster went away")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_is_not_replaced(tmp_path: Path) -> None:
    file = saved(tmp_path)
    with pytest.raises(FileExistsError, match="there is such a file already"):
        SnapshotWriter(file, 2)
    assert read_snapshot(file)[0] == 41

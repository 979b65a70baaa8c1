"""Goal: the history of a ``test.jepsen`` is that of its ``history.edn``; damage is one sentence.

Method: an encoder of Fressian and of Jepsen's blocks, written by their documentation; round trips
of values and histories; every code by hand; cuts, flipped bytes, loops and bombs.
"""

from __future__ import annotations

import decimal
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from history_strategies import events, values
from hypothesis import given, settings
from hypothesis import strategies as st

from checkers.check_files import check_files
from checkers.history import Event, History, HistoryError, load, recognise, write_edn
from checkers.history.fressian import Reader, Tagged


class Keyword(str):
    """A string that is written as a keyword."""


class Writer:
    """Writes Fressian as the reference implementation does, keywords' names cached."""

    def __init__(self) -> None:
        self.out = bytearray()
        self.cache: list[str] = []
        self.types: list[str] = []

    def integer(self, number: int) -> None:
        if number == -1 or 0 <= number < 64:
            self.out.append(number & 0xFF)
            return
        for zero, count in ((0x50, 1), (0x68, 2), (0x72, 3), (0x76, 4), (0x7A, 5), (0x7E, 6)):
            high = number >> 8 * count
            room = {0x50: 16, 0x68: 8}.get(zero, 2)
            if -room <= high < room:
                self.out.append(zero + high)
                self.out += (number & (1 << 8 * count) - 1).to_bytes(count, "big")
                return
        self.out += b"\xf8" + number.to_bytes(8, "big", signed=True)

    def counted(self, packed: int, code: int, count: int) -> None:
        if count < 8:
            self.out.append(packed + count)
        else:
            self.out.append(code)
            self.integer(count)

    def string(self, text: str) -> None:
        data = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass").encode()
        self.counted(0xDA, 0xE3, len(data))
        self.out += data

    def cached(self, text: str | None) -> None:
        if not text:
            self.write(text)
        elif text in self.cache:
            number = self.cache.index(text)
            self.out += bytes([0x80 + number]) if number < 32 else b"\xcc"
            if number >= 32:
                self.integer(number)
        else:
            self.cache.append(text)
            self.out.append(0xCD)
            self.string(text)

    def tag(self, name: str, fields: int) -> None:
        if name in self.types:
            self.out.append(0xA0 + self.types.index(name))
        else:
            self.types.append(name)
            self.out.append(0xEF)
            self.string(name)
            self.integer(fields)

    def write(self, value: Any) -> None:
        if value is None or isinstance(value, bool):
            self.out.append({None: 0xF7, True: 0xF5, False: 0xF6}[value])
        elif isinstance(value, int) and -(2**63) <= value < 2**63:
            self.integer(value)
        elif isinstance(value, int):
            data = value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)
            self.out.append(0xC6)
            self.counted(0xD0, 0xD9, len(data))
            self.out += data
        elif isinstance(value, float):
            short = {"0.0": b"\xfb", "1.0": b"\xfc"}.get(repr(value))
            self.out += short or b"\xfa" + struct.pack(">d", value)
        elif isinstance(value, Keyword):
            space, _, name = value.rpartition("/")
            self.out.append(0xCA)
            self.cached(space or None)
            self.cached(name)
        elif isinstance(value, str):
            self.string(value)
        elif isinstance(value, list):
            self.counted(0xE4, 0xEC, len(value))
            for item in value:
                self.write(item)
        elif isinstance(value, dict):
            self.out.append(0xC0)
            self.write([item for pair in value.items() for item in pair])
        else:
            self.tag(value.tag, len(value.fields))
            for field in value.fields:
                self.write(field)


def fressian(*made: Any) -> bytes:
    writer = Writer()
    for value in made:
        writer.write(value)
    return bytes(writer.out)


@given(values)
def test_values_come_back(value: Any) -> None:
    data = fressian(value)
    reader = Reader(data)
    assert repr(reader.read()) == repr(value) and not reader.more


@given(st.integers(-(2**70), 2**70))
def test_whole_numbers_come_back(number: int) -> None:
    assert Reader(fressian(number)).read() == number


CODES: dict[str, tuple[bytes, Any]] = {
    "list of a length": (b"\xec\x02\x01\x02", [1, 2]),
    "closed list": (b"\xed\x01\xe4\xfd", [1, []]),
    "open list that ends with the data": (b"\xee\x01\x02", [1, 2]),
    "set": (b"\xc1\xe6\x01\x02", [1, 2]),
    "string in chunks": (b"\xe2\x02ab\xe2\x01c\xdbd", "abcd"),
    "bytes in chunks": (b"\xc6\xd8\x01\x01\xd9\x01\x00", 256),
    "float": (b"\xf9\x3f\xc0\x00\x00", 1.5),
    "decimal": (b"\xc7\xd1\x0f\x01", decimal.Decimal("1.5")),
    "character": (b"\xef\xdechar\x01\x50\x61", "a"),
    "ratio": (b"\xef\xdfratio\x02\x01\x02", 0.5),
    "symbol": (b"\xc9\xdba\xdbb", "a/b"),
    "keyword": (b"\xca\xf7\xcd\xdba", "a"),
    "instant": (b"\xc8\x07", 7),
    "uuid": (b"\xc3\xd2\xab\xcd", "abcd"),
    "array of numbers": (b"\xb0\x02\x05\x06", [5, 6]),
    "array of anything": (b"\xb5\x01\xdbx", ["x"]),
    "record": (b"\xef\xe0record\x02\xc9\xf7\xdbR\xc0\xe6\xdbk\x01", {"k": 1}),
    "unknown tag of one field": (b"\xef\xdbt\x01\x05", 5),
    "unknown tag of two": (b"\xef\xdbt\x02\x05\x06", [5, 6]),
    "structure again": (b"\xe6\xef\xdbt\x01\x05\xa0\x06", [5, 6]),
    "structure by number": (b"\xe6\xef\xdbt\x01\x05\xf0\x00\x06", [5, 6]),
    "cached string": (b"\xe7\xcd\xdba\x80\xcc\x00", ["a", "a", "a"]),
    "reset": (b"\xfe\x05", 5),
    "half characters": (b"\xe0\xed\xa0\xbd\xed\xb8\x80", "\U0001f600"),
}  # fmt: skip


@pytest.mark.parametrize("name", CODES)
def test_codes(name: str) -> None:
    data, expected = CODES[name]
    assert Reader(data).read() == expected


BAD = {
    "no code": b"\xcb",
    "cut number": b"\xf8\x00",
    "cut string": b"\xe3\x40ab",
    "a length below zero": b"\xec\xff",
    "a length that is text": b"\xec\xdba",
    "beyond the cache": b"\x85",
    "no such structure": b"\xa3",
    "NaN": b"\xfa\x7f\xf8" + bytes(6),
    "a key without a value": b"\xc0\xe5\x01",
    "a key twice": b"\xc0\xe8\x01\x02\x01\x03",
    "deep": b"\xe5" * 500,
    "a cached list in two places": b"\xe6\xcd\xe5\x01\x80",
    "a value that holds itself": b"\xcd\xe5\x80",
    "a huge scale": b"\xc7\xd1\x0f\xf8" + b"\x7f" * 8,
    "a ratio over zero": b"\xef\xdfratio\x02\x01\x00",
    "no character": b"\xef\xdechar\x01\xf8" + b"\x7f" * 8,
    "a huge whole number": b"\xc6\xd9\x68\x20" + b"\x7f" * 8224,
    "a list of 2 billion": b"\xec\xf8" + (2**31 - 1).to_bytes(8, "big"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_data_is_one_sentence(name: str) -> None:
    with pytest.raises(HistoryError) as caught:
        Reader(BAD[name]).read()
    assert "\n" not in str(caught.value)


# Files --------------------------------------------------------------------------------------------

INDEX, FRESSIAN, PARTIAL, STREAM, VECTOR = range(1, 6)


def block(kind: int, data: bytes) -> bytes:
    length = 28 + len(data)
    blank = struct.pack(">qIH14x", length, 0, kind)
    return struct.pack(">qIH14x", length, zlib.crc32(data + blank), kind) + data


def store(root: int, *blocks: tuple[int, bytes], version: int = 1) -> bytes:
    """A file of these blocks, numbered from 1, with the index at its end."""
    body, index = b"", struct.pack(">I", root)
    for number, (kind, data) in enumerate(blocks, 1):
        index += struct.pack(">IQ", number, 18 + len(body))
        body += block(kind, data)
    head = b"JEPSEN" + struct.pack(">IQ", version, 18 + len(body))
    return head + body + block(INDEX, index)


def op_of(event: Event) -> Tagged:
    more = {Keyword("error"): event.error} if event.error is not None else None
    fields = [event.index, event.time_ns, Keyword(event.type), event.process, Keyword(event.f),
              event.value, more]  # fmt: skip
    return Tagged("jepsen.history.Op", fields)


def map_of(event: Event) -> dict[Any, Any]:
    made = {Keyword(name): getattr(event, name) for name in ("index", "process", "value")}
    made |= {Keyword("type"): Keyword(event.type), Keyword("f"): Keyword(event.f)}
    return made | ({Keyword("error"): event.error} if event.error is not None else {})


def root_map(history: int, **more: Any) -> bytes:
    plain = {Keyword("name"): "t", Keyword("nodes"): ["n1"], Keyword("results"): 1}
    return fressian({**plain, Keyword("history"): Tagged("block-ref", [history]), **more})


def big_vector(made: list[Event], chunk: int) -> bytes:
    """A file whose history is in chunks, as a run writes it."""
    parts = [made[at : at + chunk] for at in range(0, len(made), chunk)]
    vector = struct.pack(">Q", len(made))
    blocks = []
    for number, part in enumerate(parts):
        vector += struct.pack(">QI", number * chunk, 3 + number)
        blocks.append((STREAM, fressian(*map(op_of, part))))
    return store(2, (VECTOR, vector), (FRESSIAN, root_map(1)), *blocks)


def plain(made: list[Event]) -> list[Event]:
    return [Event(e.index, e.time_ns, e.process, e.type, e.f, None, e.value, None, e.error)
            for e in made]  # fmt: skip


@settings(max_examples=60)
@given(events(), st.integers(1, 5))
def test_histories_come_back(
    tmp_path_factory: pytest.TempPathFactory, made: list[Event], chunk: int
) -> None:
    """The same as from EDN, in one block or in chunks, as records or as maps."""
    if not made:
        return
    folder, made = tmp_path_factory.mktemp("store"), plain(made)
    write_edn(History.from_events(made), folder / "history.edn")
    expected = list(load(folder / "history.edn").events())
    path = folder / "test.jepsen"
    path.write_bytes(big_vector(made, chunk))
    assert recognise(path) == "jepsen-store"
    assert list(load(path).events()) == expected
    one = store(2, (FRESSIAN, fressian([op_of(e) for e in made])), (FRESSIAN, root_map(1)))
    path.write_bytes(one)
    assert list(load(path).events()) == expected
    maps = store(2, (FRESSIAN, fressian(list(map(map_of, made)))), (FRESSIAN, root_map(1)),
                 version=0)  # fmt: skip
    path.write_bytes(maps)
    told = [(e.type, e.process, e.f, e.value, e.error) for e in load(path).events()]
    assert told == [(e.type, e.process, e.f, e.value, e.error) for e in expected]
    old = folder / "test.fressian"
    old.write_bytes(fressian({Keyword("history"): list(map(map_of, made))}))
    assert recognise(old) == "jepsen-store" and len(load(old)) == len(expected)


STALE = plain([
    Event(0, 1, 0, "invoke", "write", None, 1), Event(1, 2, 0, "ok", "write", None, 1),
    Event(2, 3, 1, "invoke", "read"), Event(3, 4, 1, "ok", "read", None, None),
])  # fmt: skip


def test_a_run_with_nothing_but_its_test_is_judged(tmp_path: Path) -> None:
    (tmp_path / "test.jepsen").write_bytes(big_vector(STALE, 3))
    (tmp_path / "jepsen.log").write_text("INFO jepsen.core: Running\n")
    (found,) = check_files([tmp_path])
    assert found.verdict is not None and found.verdict.value == "invalid"
    assert found.format == "jepsen-store" and Path(found.path).name == "test.jepsen"


def test_a_test_in_two_maps_is_read(tmp_path: Path) -> None:
    path = tmp_path / "test.jepsen"
    first = struct.pack(">I", 3) + fressian({Keyword("name"): "t"})
    rest = struct.pack(">I", 0) + root_map(2)
    history = fressian([op_of(event) for event in STALE])
    path.write_bytes(store(1, (PARTIAL, first), (FRESSIAN, history), (PARTIAL, rest)))
    assert len(load(path)) == 4


def test_a_test_without_results_may_be_cut(tmp_path: Path) -> None:
    path = tmp_path / "test.jepsen"
    test = fressian({Keyword("history"): Tagged("block-ref", [1])})
    path.write_bytes(store(2, (FRESSIAN, fressian([op_of(e) for e in STALE])), (FRESSIAN, test)))
    assert any("has no results" in note for note in load(path).notes)


GOOD = big_vector(STALE, 2)
WRONG: dict[str, tuple[bytes, str]] = {
    "cut header": (GOOD[:12], "ends within its header"),
    "cut": (GOOD[:-30], "is cut"),
    "no index": (GOOD[:10] + bytes(8) + GOOD[18:], "no index"),
    "version": (GOOD[:6] + b"\0\0\0\x07" + GOOD[10:], "version 7"),
    "flipped": (GOOD[:60] + bytes([GOOD[60] ^ 1]) + GOOD[61:], "checksum differs"),
    "no history yet": (store(2, (FRESSIAN, fressian(None)), (FRESSIAN, root_map(1))),
                       "the test has no history"),
    "no such block": (store(1, (FRESSIAN, root_map(9))), "no block 9"),
    "root is no map": (store(1, (FRESSIAN, fressian(7))), "the test has no history"),
    "a vector of itself": (
        store(2, (VECTOR, struct.pack(">QQI", 1, 0, 1)), (FRESSIAN, root_map(1))), "no block 1"),
    "wrong count": (store(2, (VECTOR, struct.pack(">Q", 5)), (FRESSIAN, root_map(1))),
                    "another length"),
    "unknown type": (store(1, (9, b"")), "unknown type 9"),
    "index is data": (b"JEPSEN" + struct.pack(">IQ", 1, 18) + block(FRESSIAN, b"\x01"),
                      "is no index"),
    "length below zero": (
        b"JEPSEN" + struct.pack(">IQ", 1, 18) + struct.pack(">qIH14x", -5, 0, 1), "is cut"),
    "rows are numbers": (
        store(2, (FRESSIAN, fressian([7])), (FRESSIAN, root_map(1))), "operation 1: 7 is no op"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_damage_is_a_sentence(tmp_path: Path, name: str) -> None:
    data, sentence = WRONG[name]
    path = tmp_path / "test.jepsen"
    path.write_bytes(data)
    with pytest.raises(HistoryError) as caught:
        load(path)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


@settings(max_examples=200)
@given(st.integers(0, 10**6), st.binary(min_size=1, max_size=4), st.booleans())
def test_any_damage_is_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, at: int, noise: bytes, cut: bool
) -> None:
    path = tmp_path_factory.mktemp("damage") / "test.jepsen"
    at %= len(GOOD)
    path.write_bytes(GOOD[:at] if cut else GOOD[:at] + noise + GOOD[at + len(noise) :])
    try:
        load(path, format="jepsen-store")
    except HistoryError as error:
        assert "\n" not in str(error)


@settings(max_examples=300)
@given(st.binary(max_size=60))
def test_noise_in_fressian_is_values_or_a_sentence(noise: bytes) -> None:
    reader = Reader(noise)
    try:
        while reader.more:
            reader.read()
    except HistoryError as error:
        assert "\n" not in str(error)

"""The state machine of a data group. Goal: a deterministic state that no command can break. Method:
random commands from a small alphabet (Hypothesis), good ones and bad ones: equal lists give equal
digests, a snapshot at any point gives the same state, a model of plain dicts agrees; then cases by
hand for partitions, ranges and time."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.config import ClusterConfig
from cluster.data import timestamp_cache
from cluster.data.partition_commands import OPS
from cluster.data.partition_machine import PartitionMachine, PartitionParts
from cluster.data.partition_transfer import Part, digest_of
from cluster.data.timestamp_cache import TimestampCache
from cluster.wire import Command

_pack = msgspec.msgpack.Encoder().encode
_command = msgspec.msgpack.Decoder(Command).decode
_value = msgspec.msgpack.Decoder().decode


class Log:
    """A machine and the commands it was given."""

    def __init__(self, *parts: str) -> None:
        self.machine = PartitionParts().build(ClusterConfig())
        self.index = 0
        for name in parts:
            self.ok("p-own", name, 1, "ranges", "", None)

    def do(self, op: str, key: str = "", *args: Any) -> Any:
        command = _command(_pack(Command(op, key, args)))
        self.index += 1
        return _value(_pack(self.machine.apply(self.index, command)))

    def ok(self, op: str, key: str = "", *args: Any) -> Any:
        status, value, error = self.do(op, key, *args)
        assert status == "ok", error
        return value

    def fail(self, op: str, key: str = "", *args: Any) -> str:
        status, _, error = self.do(op, key, *args)
        assert status == "fail"
        return str(error)

    def prepare(
        self, txn: str, timestamp: int, *, started: int = 0, reads: Any = (), ranges: Any = (),
        writes: Any = (), participants: Any = ("here",), now: bool = False, first: bool = False,
    ) -> Any:  # fmt: skip
        return self.ok(
            "p-prepare", txn, timestamp, started, timestamp, first, list(reads), list(ranges),
            list(writes), "here", [] if now else list(participants), timestamp, now,
        )  # fmt: skip

    def put(self, timestamp: int, key: str, value: Any, *, part: str = "p", epoch: int = 1) -> None:
        written = [[part, epoch, key, "w", value]]
        vote = self.prepare(f"t{timestamp}", timestamp, writes=written, now=True)
        assert vote == ["committed", timestamp]

    def read(self, key: str, timestamp: int | None, *, part: str = "p", epoch: int = 1) -> Any:
        return self.ok("p-read", "", timestamp, False, [[part, epoch, key]])[1][0]

    def scan(self, low: str, high: str | None, timestamp: int) -> Any:
        return self.ok("p-scan", "", timestamp, False, [["p", 1, low, high]])[1][0]


# -- any commands ----------------------------------------------------------------------------------

KEYS = st.sampled_from(["a", "b", "c", "m", "z"])
PARTS = st.sampled_from(["p", "q", "r"])
EPOCHS = st.integers(1, 4)
TIMES = st.integers(0, 40)
TXNS = st.sampled_from(["t1", "t2", "t3", "t4"])
FLAGS = st.booleans()
WAYS = st.one_of(
    st.tuples(st.just("w"), st.sampled_from([None, 1, "x", [1, 2]])),
    st.tuples(st.just("append"), st.sampled_from([[1], ["x", 2]])),
)
POINTS = st.lists(st.tuples(PARTS, EPOCHS, KEYS, TIMES), max_size=2)
ENDS = st.one_of(st.none(), KEYS)
SPANS = st.lists(st.tuples(PARTS, EPOCHS, KEYS, ENDS, TIMES), max_size=2)
WRITES = st.lists(
    st.tuples(PARTS, EPOCHS, KEYS, WAYS).map(lambda each: (*each[:3], *each[3])), max_size=3
)
GOOD = st.one_of(
    st.tuples(
        st.just("p-prepare"), TXNS, TIMES, TIMES, TIMES, FLAGS, POINTS, SPANS, WRITES,
        st.just("here"), st.sampled_from([(), ("here",)]), TIMES, FLAGS,
    ),
    st.tuples(st.just("p-resolve"), TXNS, st.sampled_from(["commit", "abort"]), TIMES),
    st.tuples(st.just("p-decide"), TXNS, st.sampled_from(["commit", "abort"]), TIMES, TIMES),
    st.tuples(st.just("p-recover"), TXNS, TIMES, TIMES, TIMES, TIMES),
    st.tuples(st.just("p-forget"), st.just(""), st.lists(TXNS, max_size=2), st.booleans()),
    st.tuples(st.just("p-close"), st.just(""), TIMES),
    st.tuples(st.just("p-collect"), st.just(""), TIMES),
    st.tuples(st.just("p-own"), PARTS, EPOCHS, st.just("ranges"), st.just(""), st.none()),
    st.tuples(st.just("p-own"), PARTS, EPOCHS, st.just("slots"), st.just(0), st.just(1)),
    st.tuples(st.just("p-freeze"), PARTS, EPOCHS),
    st.tuples(st.just("p-drop"), PARTS, EPOCHS),
    st.tuples(st.just("p-split"), PARTS, EPOCHS, KEYS, PARTS, PARTS),
    st.tuples(st.just("p-merge"), PARTS, EPOCHS, PARTS, EPOCHS, PARTS),
    st.tuples(st.just("p-read"), TXNS, st.one_of(st.none(), TIMES), FLAGS,
              st.lists(st.tuples(PARTS, EPOCHS, KEYS), max_size=2)),
    st.tuples(st.just("p-scan"), TXNS, st.one_of(st.none(), TIMES), FLAGS,
              st.lists(st.tuples(PARTS, EPOCHS, KEYS, ENDS), max_size=2)),
    st.tuples(st.just("p-export"), PARTS, EPOCHS, st.just(0), st.sampled_from([7, 1 << 20])),
    st.tuples(st.just("p-receive"), PARTS, EPOCHS, st.sampled_from(["d", "e"]), st.just(9),
              st.integers(0, 8), st.binary(min_size=1, max_size=3)),
    st.tuples(st.just("p-stat"), PARTS, EPOCHS),
)  # fmt: skip
ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(1 << 63), (1 << 63) - 1), st.text(max_size=3),
              st.floats(allow_nan=False), st.sampled_from(["p", "a", "commit", "w", "ranges"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=2), inner, max_size=2)
    ),
    max_leaves=8,
)  # fmt: skip
BAD = st.tuples(st.sampled_from(sorted(OPS)), st.one_of(PARTS, TXNS)).flatmap(
    lambda head: st.lists(ANYTHING, max_size=11).map(lambda args: (*head, *args))
)


def start() -> Log:
    return Log("p", "q")


@settings(max_examples=60, deadline=None)
@given(st.lists(GOOD, max_size=40), st.integers(0, 40))
def test_equal_commands_make_equal_states_with_a_snapshot_anywhere(
    commands: list[Any], at: int
) -> None:
    one, two = start(), start()
    for number, (op, key, *args) in enumerate(commands):
        if number == at:
            state = _value(_pack(two.machine.encode()))
            two.machine = PartitionParts().build(ClusterConfig())
            two.machine.restore(state)
            assert two.machine.digest() == one.machine.digest()
        assert one.do(op, key, *args) == two.do(op, key, *args)
    assert one.machine.digest() == two.machine.digest()
    sorted_state = _canonical(one.machine)
    assert sorted_state == _canonical(two.machine)


def _canonical(machine: PartitionMachine) -> Any:
    restored = PartitionParts().build(ClusterConfig())
    restored.restore(_value(_pack(machine.encode())))
    return restored.digest(), len(restored), restored.position


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(GOOD, BAD), max_size=20))
def test_no_command_makes_it_raise(commands: list[Any]) -> None:
    log = start()
    for op, key, *args in commands:
        status, value, error = log.do(op, key, *args)
        assert (status == "ok") == (error == "")
        assert status in ("ok", "fail")
        if status == "fail":
            assert value is None and len(error) < 1_000


@settings(max_examples=80, deadline=None)
@given(st.lists(GOOD, max_size=30))
def test_what_is_visible_at_a_closed_timestamp_never_changes(commands: list[Any]) -> None:
    """A read at or below the closed timestamp that is served gives the same ever after."""
    log = start()
    seen: dict[tuple[str, int, str, int], Any] = {}
    for op, key, *args in commands:
        log.do(op, key, *args)
        for part, held in log.machine.store.ownership.held.items():
            for name in ("a", "m"):
                for at in (5, 20):
                    answer = log.do("p-read", "", at, True, [[part, held.epoch, name]])
                    found = answer[1][1][0]
                    if found[0] == "value":
                        before = seen.setdefault((part, held.epoch, name, at), found)
                        assert before == found


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(KEYS, st.integers(1, 200), st.one_of(st.none(), st.integers(0, 9))), max_size=30
    ),
    st.lists(st.integers(0, 210), min_size=1, max_size=5),
    st.integers(0, 200),
)
def test_reads_agree_with_a_table_of_all_versions(
    writes: list[Any], reads: list[int], below: int
) -> None:
    log = Log("p")
    versions: dict[str, dict[int, Any]] = {}
    for key, timestamp, value in writes:
        written = [["p", 1, key, "w", value]]
        vote = log.prepare("t", timestamp, writes=written, now=True)
        newest = max(versions.get(key, {0: None}))
        assert vote == (["committed", timestamp] if timestamp > newest else ["push", newest + 1])
        if timestamp > newest:
            versions.setdefault(key, {})[timestamp] = value
    log.ok("p-collect", "", below)
    for at in reads:
        held = {
            key: max((t, v) for t, v in all_of.items() if t <= at)[1]
            for key, all_of in versions.items()
            if min(all_of) <= at
        }
        rows = [[key, value] for key, value in sorted(held.items()) if value is not None]
        if at < below:
            assert log.scan("", None, at)[0] == "refused"
        else:
            assert log.scan("", None, at)[1] == rows
            for key in "abcmz":
                assert log.read(key, at)[1] == held.get(key)


def test_appends_share_one_list_and_every_version_keeps_its_length() -> None:
    log = Log("p")
    for number in range(1, 6):
        written = [["p", 1, "k", "append", [number]]]
        assert log.prepare("t", number * 10, writes=written, now=True)[0] == "committed"
    assert [log.read("k", at)[1] for at in (9, 10, 35, 60)] == [
        None,
        [1],
        [1, 2, 3],
        [1, 2, 3, 4, 5],
    ]
    rows = log.machine.store.partitions["p"].values._keys["k"]
    assert len({id(version.data) for version in rows}) == 1
    log.put(70, "k", 7)
    vote = log.prepare("t", 80, writes=[["p", 1, "k", "append", [1]]], now=True)
    assert vote == ["no", "'k' holds 7, and only a list takes appends"]
    log.put(90, "k", None)
    assert log.read("k", 90) == ["value", None, 90]
    assert log.prepare("t", 95, writes=[["p", 1, "k", "append", [1]]], now=True)[0] == "committed"
    assert log.read("k", 99)[1] == [1]


# -- what is read is validated ---------------------------------------------------------------------


def test_a_phantom_is_noticed_also_below_the_read() -> None:
    """A range was read; a key comes into it, above or below the timestamp of the read."""
    for timestamp in (15, 25):
        log = Log("p")
        log.put(10, "b", 1)
        position = log.machine.position
        assert log.scan("a", "c", 20) == ["value", [["b", 1]], 10]
        log.put(timestamp, "aa", 2)
        ranges = [["p", 1, "a", "c", position]]
        vote = log.prepare("t", 30, started=20, ranges=ranges)
        assert vote == ["no", "'aa' has changed since its range was read"]
        assert log.prepare("t", 30, started=20, ranges=[["p", 1, "b", "c", position]])[0] == "yes"


def test_a_key_that_comes_and_goes_and_is_collected_is_noticed() -> None:
    log = Log("p")
    position = log.machine.position
    log.put(10, "b", 1)
    log.put(11, "b", None)
    log.ok("p-collect", "", 12)
    assert log.machine.store.partitions["p"].values.newest("b") is None
    for reads, ranges in (([["p", 1, "b", position]], []), ([], [["p", 1, "a", "c", position]])):
        vote = log.prepare("t", 30, started=20, reads=reads, ranges=ranges)
        assert vote[0] == "no", "a tombstone that it must see is gone"


def test_a_write_commits_above_validated_reads_of_its_key_and_ranges() -> None:
    log = Log("p")
    position = log.machine.position
    assert log.prepare("r", 50, started=40, reads=[["p", 1, "b", position]])[0] == "yes"
    assert log.prepare("s", 60, started=40, ranges=[["p", 1, "m", None, position]])[0] == "yes"
    assert log.prepare("t", 30, writes=[["p", 1, "b", "w", 1]]) == ["push", 51]
    assert log.prepare("t", 30, writes=[["p", 1, "z", "w", 1]]) == ["push", 61]
    assert log.prepare("t", 30, writes=[["p", 1, "c", "w", 1]]) == ["yes", 30]
    log.ok("p-close", "", 70)
    assert log.prepare("t", 65, writes=[["p", 1, "a", "w", 1]]) == ["push", 71]


def test_intents_block_writers_readers_above_and_validation() -> None:
    log = Log("p")
    assert log.prepare("t", 30, started=20, writes=[["p", 1, "b", "w", 1]]) == ["yes", 30]
    met = ["t", "here", 30, 20, 30]
    assert log.prepare("u", 40, writes=[["p", 1, "b", "w", 2]]) == ["blocked", *met]
    assert log.read("b", 30) == ["blocked", *met]
    assert log.read("b", 29) == ["value", None, 0]
    assert log.read("b", None) == ["value", None, 0]
    assert log.scan("a", "c", 35) == ["blocked", *met]
    position = log.machine.position
    assert log.prepare("u", 40, started=29, reads=[["p", 1, "b", position]]) == ["blocked", *met]
    assert log.ok("p-resolve", "t", "commit", 33) == 1
    assert log.ok("p-resolve", "t", "commit", 33) == 0
    assert log.read("b", 33) == ["value", 1, 33]


def test_a_transaction_prepares_again_at_a_later_timestamp_and_a_late_copy_changes_nothing() -> (
    None
):
    log = Log("p")
    written = [["p", 1, "b", "w", 1]]
    assert log.prepare("t", 30, writes=written) == ["yes", 30]
    assert log.prepare("t", 40, writes=written) == ["yes", 40]
    assert log.prepare("t", 30, writes=written) == ["yes", 30]
    assert log.fail("p-resolve", "t", "commit", 35).startswith("t is prepared at 40")
    assert log.ok("p-decide", "t", "commit", 40, 0) == ["commit", 40]
    assert log.ok("p-resolve", "t", "commit", 40) == 1
    assert log.prepare("t", 40, writes=written)[0] == "no"
    log.ok("p-forget", "", ["t"], True)
    assert log.prepare("t", 40, writes=written) == ["push", 41], "and leaves no intent"
    assert not log.machine.participant.prepared


def test_first_committer_wins_under_snapshot_isolation_only() -> None:
    log = Log("p")
    log.put(30, "b", 1)
    written = [["p", 1, "b", "w", 2]]
    assert log.prepare("t", 40, started=20, writes=written, first=True)[0] == "no"
    assert log.prepare("t", 40, started=20, writes=written) == ["yes", 40]


# -- decisions -------------------------------------------------------------------------------------


def test_a_missing_record_means_abort_and_refuses_the_late_prepare() -> None:
    log = Log("p")
    assert log.ok("p-decide", "t", "commit", 30, 20) == ["abort", 0]
    vote = log.prepare("t", 30, started=20, writes=[["p", 1, "b", "w", 1]])
    assert vote == ["no", "t has ended already: abort"]
    log.ok("p-collect", "", 25)
    assert len(log.machine.records) == 0
    vote = log.prepare("t", 30, started=20, writes=[["p", 1, "b", "w", 1]])
    assert vote == ["no", "t started at 20, before 25: it is too old"]


def test_an_orphan_is_aborted_after_the_patience_by_its_last_word() -> None:
    log = Log("p")
    assert log.prepare("t", 30, started=20, writes=[["p", 1, "b", "w", 1]]) == ["yes", 30]
    assert log.ok("p-recover", "t", 129, 30, 20, 100) == ["pending", 0]
    assert log.prepare("t", 60, started=20, writes=[["p", 1, "b", "w", 1]]) == ["yes", 60]
    assert log.ok("p-recover", "t", 131, 30, 20, 100) == ["pending", 0], "it was heard of at 60"
    assert log.ok("p-recover", "t", 161, 30, 20, 100) == ["abort", 0]
    assert log.ok("p-decide", "t", "commit", 60, 20) == ["abort", 0]


# -- partitions ------------------------------------------------------------------------------------


def full(count: int) -> Log:
    """A group whose frozen partition has so many keys of about 100 bytes."""
    made = Log("p")
    for number in range(count):
        made.put(10 + number, f"k{number:03}", "x" * 90)
    made.ok("p-freeze", "p", 1)
    return made


def parts_of(old: Log, size: int) -> list[Part]:
    """The frozen partition's data in parts."""
    parts = [Part(*old.ok("p-export", "p", 1, 0, size))]
    while not parts[-1].is_last:
        offset = parts[-1].offset + len(parts[-1].data)
        parts.append(Part(*old.ok("p-export", "p", 1, offset, size)))
    return parts


def test_a_partition_moves_in_parts_and_nothing_changes_meanwhile() -> None:
    old, new = full(30), Log()
    first = parts_of(old, 500)
    assert len(first) > 5 and {len(part.data) for part in first[:-1]} == {500}
    old.ok("p-close", "", 900)
    old.ok("p-collect", "", 800)
    old.machine.restore(_value(_pack(old.machine.encode())))
    parts = parts_of(old, 500)
    assert parts == first, "the data is the same bytes at any time, at any replica"
    for number, part in enumerate(parts[:-1], 1):
        assert new.ok("p-receive", "p", 2, *part) == 500 * number
    assert new.machine.store.ownership.held == {}
    assert new.ok("p-adopt", "p", 2, "ranges", "", None, *parts[-1]) is True
    assert new.read("k029", 60, epoch=2) == ["value", "x" * 90, 39]
    assert new.machine.store.arrivals.encode() == []
    assert new.ok("p-receive", "p", 2, *parts[0]) == parts[0].size, "it has all of them"
    assert new.ok("p-adopt", "p", 2, "ranges", "", None, *parts[-1]) is False


def test_parts_that_are_lost_repeated_or_late_only_cost_time() -> None:
    old, new = full(30), Log()
    parts = parts_of(old, 500)
    assert new.ok("p-receive", "p", 2, *parts[0]) == 500
    assert new.ok("p-receive", "p", 2, *parts[2]) == 500, "the second one is missing"
    assert new.ok("p-receive", "p", 2, *parts[0]) == 500, "it is there"
    told = new.fail("p-adopt", "p", 2, "ranges", "", None, *parts[-1])
    assert told == f"p at epoch 2 has 500 bytes of {parts[0].size}"
    new.machine.restore(_value(_pack(new.machine.encode())))
    for part in parts[1:-1]:
        new.ok("p-receive", "p", 2, *part)
    assert new.ok("p-adopt", "p", 2, "ranges", "", None, *parts[-1]) is True


def test_parts_of_an_epoch_that_is_over_are_not_mixed_with_others() -> None:
    one, other, new = full(10), full(11), Log()
    parts, others = parts_of(one, 300), parts_of(other, 300)
    assert new.ok("p-receive", "p", 5, *parts[0]) == 300
    assert new.ok("p-receive", "p", 4, *others[0]) == 300, "one of an older epoch is not taken"
    assert new.ok("p-receive", "p", 5, *parts[1]) == 600
    assert new.ok("p-receive", "p", 6, *others[1]) == 0, "another partition's bytes begin anew"
    assert new.ok("p-receive", "p", 6, *others[0]) == 300
    assert "has 0 bytes of" in new.fail("p-adopt", "p", 5, "ranges", "", None, *parts[-1])
    new.ok("p-drop", "p", 6)
    assert new.machine.store.arrivals.encode() == [], "it will not come any more"
    assert new.ok("p-receive", "p", 6, *others[0]) == others[0].size
    wrong = Part("another", 3, 0, b"abc")
    assert new.fail("p-adopt", "p", 7, "ranges", "", None, *wrong) == (
        "the bytes of p at epoch 7 are not those of another"
    )


def test_a_partition_moves_with_all_that_was_promised() -> None:
    old, new = Log("p"), Log()
    old.put(10, "b", [1])
    position = old.machine.position
    assert old.prepare("r", 50, started=40, reads=[["p", 1, "b", position]])[0] == "yes"
    assert old.prepare("t", 60, writes=[["p", 1, "c", "w", 1]]) == ["yes", 60]
    old.ok("p-close", "", 55)
    assert old.ok("p-freeze", "p", 1) == 1
    assert old.fail("p-export", "p", 1, 0, 99) == "p has 1 open intents"
    assert old.fail("p-drop", "p", 1) == "p has 1 open intents"
    assert old.prepare("u", 70, writes=[["p", 1, "d", "w", 1]])[1].startswith("frozen: ")
    assert old.read("b", 20)[1].startswith("frozen: ")
    old.ok("p-close", "", 99)  # after the freeze no read of it relies on that
    assert old.ok("p-resolve", "t", "commit", 60) == 1
    data = old.ok("p-export", "p", 1, 0, 1 << 20)
    assert new.ok("p-adopt", "p", 2, "ranges", "", None, *data) is True
    assert new.ok("p-adopt", "p", 2, "ranges", "", None, *data) is False
    assert old.ok("p-drop", "p", 1) is True
    assert old.ok("p-drop", "p", 1) is False
    assert old.ok("p-own", "p", 1, "ranges", "", None) is False, "an old command comes late"
    assert old.read("b", 20)[1].startswith("stale-epoch: ")
    assert new.read("b", 20, epoch=2) == ["value", [1], 10]
    assert new.read("c", 60, epoch=2) == ["value", 1, 60]
    assert new.prepare("u", 30, writes=[["p", 2, "d", "w", 1]]) == ["push", 56]
    assert new.prepare("u", 30, writes=[["p", 1, "d", "w", 1]])[1].startswith("stale-epoch: ")


def test_a_split_and_a_merge_keep_versions_intents_and_read_timestamps() -> None:
    log = Log("p")
    log.put(10, "b", 1)
    log.put(11, "x", 2)
    position = log.machine.position
    assert log.prepare("r", 50, started=40, reads=[["p", 1, "x", position]])[0] == "yes"
    written = [["p", 1, "b", "w", 3], ["p", 1, "y", "w", 4]]
    assert log.prepare("t", 60, writes=written) == ["yes", 60]
    assert log.ok("p-split", "p", 1, "m", "p", "q") is True
    assert log.ok("p-split", "p", 1, "m", "p", "q") is False
    assert log.ok("p-stat", "q", 2) == {"keys": 1, "writes": 0, "middle": None}
    assert log.read("b", 20, epoch=2) == ["value", 1, 10]
    assert log.read("x", 20, part="q", epoch=2) == ["value", 2, 11]
    assert log.read("x", 20, epoch=2)[1] == "stale-epoch: p holds no key 'x' at epoch 2"
    assert log.read("y", 60, part="q", epoch=2)[0] == "blocked"
    assert log.prepare("u", 30, writes=[["q", 2, "x", "w", 5]]) == ["push", 51]
    assert log.ok("p-resolve", "t", "commit", 60) == 2
    assert log.read("y", 60, part="q", epoch=2) == ["value", 4, 60]
    assert log.ok("p-merge", "p", 2, "q", 2, "p") is True
    assert log.ok("p-merge", "p", 2, "q", 2, "p") is False
    assert log.read("b", 60, epoch=3) == ["value", 3, 60]
    assert log.read("y", 60, epoch=3) == ["value", 4, 60]
    assert log.prepare("u", 30, writes=[["p", 3, "x", "w", 5]]) == ["push", 51]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("p-read", "", 1, False, [["p", 1, 7]]), "the key 7 is not a string"),
        (("p-read", "", -1, False, []), "timestamp is -1"),
        (("p-read", "", 1, 0, []), "closed_only is 0; it should be true or false"),
        (("p-resolve", "t", "maybe", 1), "outcome is 'maybe'; it should be commit or abort"),
        (("p-own", "p", 1, "rings", "", None), "the scheme is 'rings'"),
        (("p-own", "p", 1, "ranges", 0, None), "0 to None are no bounds of the scheme ranges"),
        (
            ("p-adopt", "p", 9, "ranges", "", None, digest_of(b"\x01"), 1, 0, b"\x01"),
            "the data is not that of an exported",
        ),
        (
            ("p-adopt", "p", 9, "ranges", "", None, "d", 1, 0, b"\x01"),
            "the bytes of p at epoch 9 are not those of d",
        ),
        (
            ("p-adopt", "p", 9, "ranges", "", None, "d", 9, 8, b"\x01"),
            "p at epoch 9 has 0 bytes of 9",
        ),
        (("p-receive", "p", 9, "d", 9, 8, b"12"), "2 bytes from 8 on are no part of 9"),
        (("p-receive", "p", 9, "d", 9, 8, "1"), "data is '1'; it should be bytes"),
        (("p-close", ""), "p-close takes 1 arguments (timestamp), not 0"),
        (("p-what", ""), "there is no operation 'p-what'; known are p-adopt, p-close"),
        (("p-split", "p", 1, "m", "x", "q"), "the left part of p keeps its name"),
        (("p-merge", "p", 1, "q", 1, "x"), "the merged partition keeps the left one's name"),
    ],
)
def test_a_bad_argument_is_named(args: tuple[Any, ...], said: str) -> None:
    assert said in Log("p").fail(*args)


def test_a_key_cannot_be_written_twice_in_one_prepare() -> None:
    log = Log("p")
    twice = [["p", 1, "a", "w", 1], ["p", 1, "a", "w", 2]]
    error = log.fail("p-prepare", "t", 5, 0, 5, False, [], [], twice, "here", [], 1, True)
    assert error == "p-prepare: writes has a key twice"


def test_the_timestamp_cache_is_bounded_and_never_goes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(timestamp_cache, "POINTS_MAX", 8)
    monkeypatch.setattr(timestamp_cache, "RANGES_MAX", 4)
    cache = TimestampCache()
    for number in range(1, 40):
        bounds = {key: cache.served_at(key) for key in ("k1", "k20", "r5", "x")}
        cache.read(f"k{number}", number)
        cache.read_range(f"r{number}", f"r{number}~", number)
        assert all(cache.served_at(key) >= bound for key, bound in bounds.items())
        assert cache.served_at(f"k{number}") == number == cache.served_at(f"r{number}")
    assert len(cache.points) <= 8 and len(cache.ranges) <= 4
    again = TimestampCache()
    again.restore(_value(_pack(cache.encode())))
    assert again.digest() == cache.digest() and again.rest() == cache.rest()
    right = again.cut("k37")
    assert right.served_at("k39") == 39 and again.served_at("k36") == cache.served_at("k36")
    again.join(right)
    assert again.served_at("k39") == 39


def test_a_watch_is_refused() -> None:
    machine = PartitionParts().build(ClusterConfig())
    assert "keeps no revisions" in machine.watch_problem(Command("watch", "k"))
    assert machine.problem(Command("watch", "k")).startswith("there is no operation 'watch'")


def test_a_long_list_is_written_once_in_a_snapshot() -> None:
    log = Log("p")
    for number in range(1, 400):
        written = [["p", 1, "k", "append", ["x" * 20]]]
        assert log.prepare("t", number, writes=written, now=True)[0] == "committed"
    encoded = _pack(log.machine.encode())
    assert len(encoded) < 400 * 45, "no version repeats what the others have"

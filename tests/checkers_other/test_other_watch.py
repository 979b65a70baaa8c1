"""Goal: a watch is judged by every guarantee that watches give, and by nothing else.

Method: a store that is right by construction is written and watched, with unknown outcomes,
refusals, resumed watches, bookmarks, filters, compaction and changes of several keys at once; its
histories are never INVALID. Then one defect of each kind is planted. A slow twin judges small
random histories by the definitions, pair by pair. Every finding stands alone: the checker says
INVALID of its few operations.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from other_histories import h, invalid, kinds, unknown, valid

from checkers import Result, Verdict
from checkers.history import Event, History, Op
from checkers.judges.watch import watch

Row = list[Any]  # process, type, f, key, value


def history_of(rows: list[Row]) -> History:
    return History.from_events(
        Event(n, n * 1000, process, kind, f, key, value)
        for n, (process, kind, f, key, value) in enumerate(rows)
    )


def stands_alone(history: History, result: Result) -> None:
    """Every finding's operations are INVALID by themselves."""
    for finding in result.findings:
        alone = watch()(history.select(finding.ops))
        assert alone.verdict is Verdict.INVALID, (finding.kind, finding.sentence, alone.reason)


# A store that is right ----------------------------------------------------------------------------


class Store:
    """Writers and watchers of one history of changes.

    Writers are processes 0 and 1, watchers 10 to 13: of all keys, of one key, of a prefix, and of
    all keys with bookmarks.
    """

    def __init__(self, seed: int, *, several: bool = False) -> None:
        self.rng = random.Random(seed)
        self.several = several  # whether some writes change two keys at one revision
        self.log: list[tuple[int, str, Any]] = []
        self.revision = 0
        self.rows: list[Row] = []
        self.left = 0  # the first revision that is left after compaction
        self.told = {10: 0, 11: 0, 12: 0, 13: 0}
        self.asked = {10: {}, 11: {"key": "ax"}, 12: {"prefix": "a"}, 13: {}}
        self.unknown = 100
        self.made = itertools.count(1)

    def call(self, process: int, f: str, key: Any, value: Any, between: Callable[[], Any]) -> None:
        self.rows.append([process, "invoke", f, key, value])
        kind, answer = between()
        self.rows.append([process, kind, f, key, answer])

    def write(self) -> None:
        rng, key, value = self.rng, self.rng.choice(["ax", "ay", "b"]), next(self.made)
        fate = rng.random()
        process = rng.choice([0, 1])

        def happen() -> Any:
            if fate < 0.1:
                return "fail", value
            if fate < 0.2:
                process_value = rng.random() < 0.5
                if process_value:
                    self.change(key, value)
                return "info", value
            self.change(key, value)
            return "ok", {"revision": self.revision}

        if 0.1 <= fate < 0.2:  # an unknown outcome ends a process
            self.unknown += 1
            process = self.unknown
        if fate > 0.9 and any(k == key for _, k, _ in self.log):

            def remove() -> Any:
                self.change(key, "gone")
                return "ok", {"revision": self.revision, "deleted": 1}

            self.call(process, "delete", key, None, remove)
            return
        self.call(process, "put", key, value, happen)

    def change(self, key: str, value: Any) -> None:
        self.revision += 1
        self.log.append((self.revision, key, value))

    def compact(self) -> None:
        self.left = self.rng.randint(self.left, self.revision + 1)

    def watch(self, process: int) -> None:
        asked = dict(self.asked[process])
        asked["from"] = wanted = self.told[process] + 1
        self.call(process, "watch", None, asked, lambda: ("ok", self.answer(process, wanted)))

    def answer(self, process: int, wanted: int) -> Any:
        if wanted < self.left:
            self.told[process] = self.left - 1
            return {"events": [], "compacted": self.left}
        stop = self.rng.randint(wanted - 1, self.revision) if self.revision >= wanted else 0
        events = [
            {"revision": r, "key": k, "type": "delete"} if v == "gone" else [r, k, v]
            for r, k, v in self.log
            if wanted <= r <= stop and self.watched(process, k)
        ]
        last = max((r for r, k, _ in self.log if r <= stop and self.watched(process, k)), default=0)
        if process == 13 and stop >= wanted:
            self.told[process] = stop
            return {"events": events, "revision": stop}
        self.told[process] = max(self.told[process], last)
        return events

    def watched(self, process: int, key: str) -> bool:
        return {11: key == "ax", 12: key.startswith("a")}.get(process, True)

    def run(self, steps: int, *, compacts: bool = False) -> list[Row]:
        for _ in range(steps):
            dice = self.rng.random()
            if compacts and dice < 0.05:
                self.compact()
            elif dice < 0.55:
                self.write()
            else:
                self.watch(self.rng.choice([10, 11, 12, 13]))
        for process in self.told:
            self.watch(process)
        return self.rows


@pytest.mark.parametrize("compacts", [False, True])
def test_what_a_right_store_told_is_never_invalid(compacts: bool) -> None:
    verdicts = []
    for seed in range(300):
        result = watch()(history_of(Store(seed).run(30, compacts=compacts)))
        assert result.verdict is not Verdict.INVALID, (seed, result.findings[0].sentence)
        assert "traceback" not in result.stats
        verdicts.append(result.verdict)
    assert verdicts.count(Verdict.VALID) > 250


# Planted defects ----------------------------------------------------------------------------------


def answers(rows: list[Row], process: int | None = None) -> list[Row]:
    """Acknowledged watches that told of events."""
    return [
        row for row in rows
        if row[1] == "ok" and row[2] == "watch" and row[0] in ((process,) if process else row[:1])
        and told(row)
    ]  # fmt: skip


def told(row: Row) -> list[Any]:
    found = row[4]["events"] if isinstance(row[4], dict) else row[4]
    assert isinstance(found, list)
    return found


def revision(event: Any) -> int:
    return int(event["revision"] if isinstance(event, dict) else event[0])


def key(event: Any) -> Any:
    return event["key"] if isinstance(event, dict) else event[1]


def one(rows: list[Row], rng: random.Random, least: int = 1, process: int | None = None) -> Row:
    return rng.choice([row for row in answers(rows, process) if len(told(row)) >= least])


def lose(rows: list[Row], rng: random.Random) -> None:
    """An event between two others of the same answer is lost."""
    row = one(rows, rng, 3)
    told(row).pop(rng.randrange(1, len(told(row)) - 1))


def repeat(rows: list[Row], rng: random.Random) -> None:
    events = told(one(rows, rng))
    events.append(events[rng.randrange(len(events))])


def swap(rows: list[Row], rng: random.Random) -> None:
    events = told(one(rows, rng, 2))
    at = rng.randrange(len(events) - 1)
    events[at], events[at + 1] = events[at + 1], events[at]


def again_after_resuming(rows: list[Row], rng: random.Random) -> None:
    """A resumed watch is told of what it was told before."""
    process = rng.choice([10, 11, 12, 13])
    first, second = rng.choice(list(itertools.combinations(answers(rows, process), 2)))
    told(second).insert(0, rng.choice(told(first)))


def late_behind_a_bookmark(rows: list[Row], rng: random.Random) -> None:
    """An event is held back until after the bookmark that covers it."""
    first, second = rng.choice(list(itertools.combinations(answers(rows, 13), 2)))
    told(second).insert(0, told(first).pop(rng.randrange(len(told(first)))))


def bookmark_too_far(rows: list[Row], rng: random.Random) -> None:
    """A bookmark covers a change that an acknowledged write proves and nobody was sent."""
    done = [(n, row) for n, row in enumerate(rows) if row[2] == "put" and row[1] == "ok"]
    places = [
        (row, put) for at, row in enumerate(rows) for n, put in done
        if row[0] == 13 and row[1] == "ok" and "revision" in row[4] and n < at
        and put[4]["revision"] > row[4]["revision"]
        and all(revision(e) <= row[4]["revision"] for e in told(row))
    ]  # fmt: skip
    row, put = rng.choice(places)
    row[4]["revision"] = put[4]["revision"]


def invent(rows: list[Row], rng: random.Random) -> None:
    events = told(one(rows, rng))
    at = rng.randrange(len(events))
    events[at] = [revision(events[at]), key(events[at]), 9999]


def tell_of_a_failed_write(rows: list[Row], rng: random.Random) -> None:
    failed = rng.choice([row for row in rows if row[1] == "fail"])
    events = told(one(rows, rng))
    events.append([revision(events[-1]) + 1000, failed[3], failed[4]])


def tell_before_it_began(rows: list[Row], rng: random.Random) -> None:
    """The write of an event is moved behind the watch that told of it."""
    row = one(rows, rng)
    event = rng.choice([event for event in told(row) if isinstance(event, list)])
    invoked = next(n for n, r in enumerate(rows) if r[2] == "put" and r[3:] == event[1:])
    pair = [rows[invoked], next(r for r in rows[invoked + 1 :] if r[0] == rows[invoked][0])]
    for moved in pair:
        rows.remove(moved)
    moved_process = [[5000, *moved[1:]] for moved in pair]
    rows[rows.index(row) + 1 : rows.index(row) + 1] = moved_process


def wrong_revision(rows: list[Row], rng: random.Random) -> None:
    """A write is acknowledged at another revision than watchers are told."""
    row = rng.choice([r for r in rows if r[2] == "put" and r[1] == "ok" and seen(rows, r)])
    row[4] = {"revision": row[4]["revision"] + 1000}


def seen(rows: list[Row], write: Row) -> bool:
    return any(revision(e) == write[4]["revision"] for row in answers(rows) for e in told(row))


def wrong_value(rows: list[Row], rng: random.Random) -> None:
    """An event of an acknowledged write tells of the value of a write of unknown outcome."""
    info = rng.choice([row for row in rows if row[1] == "info"])
    places = [
        (told(row), n) for row in answers(rows) for n, event in enumerate(told(row))
        if isinstance(event, list) and event[1] == info[3]
        and any(r[1] == "ok" and r[2] == "put" and r[4]["revision"] == event[0] for r in rows)
    ]  # fmt: skip
    events, at = rng.choice(places)
    events[at] = [events[at][0], info[3], info[4]]


def twice_made(rows: list[Row], rng: random.Random) -> None:
    """One write of unknown outcome makes two events."""
    unknown_ones = [(row[3], row[4]) for row in rows if row[1] == "info"]
    places = [(told(r), e) for r in answers(rows) for e in told(r)
              if isinstance(e, list) and (e[1], e[2]) in unknown_ones]  # fmt: skip
    events, event = rng.choice(places)
    events.append([revision(events[-1]) + 1000, event[1], event[2]])


def unwatched(rows: list[Row], rng: random.Random) -> None:
    """A filtered watcher is told of another key's change."""
    everything = {revision(e): e for row in answers(rows) for e in told(row)}
    row = one(rows, rng, process=rng.choice([11, 12]))
    low = revision(told(row)[-1])
    others = [e for r, e in everything.items() if r > low and key(e) == "b"]
    told(row).append(rng.choice(others))


def other_told(rows: list[Row], rng: random.Random) -> None:
    """Two watchers are told of different values at one revision."""
    places: dict[tuple[int, Any], list[tuple[Row, int]]] = {}
    for row in answers(rows):
        for n, event in enumerate(told(row)):
            places.setdefault((revision(event), key(event)), []).append((row, n))
    row, at = rng.choice([found for found in places.values() if len(found) > 1])[-1]
    told(row)[at] = [revision(told(row)[at]), key(told(row)[at]), next(iter([-1]))]


def before_its_start(rows: list[Row], rng: random.Random) -> None:
    """A watcher that begins anew is told of what lies before its from."""
    everything = sorted({revision(e): e for r in answers(rows) for e in told(r)}.items())
    at, event = rng.choice(everything)
    rows.append([60, "invoke", "watch", None, {"from": at + 1}])
    rows.append([60, "ok", "watch", None, [event]])


def needlessly_compacted(rows: list[Row], rng: random.Random) -> None:
    first = rng.randint(1, 5)
    rows.append([61, "invoke", "watch", None, {"from": first}])
    rows.append([61, "ok", "watch", None, {"events": [], "compacted": rng.randint(0, first)}])


def deletion_of_nobody(rows: list[Row], rng: random.Random) -> None:
    for row in [r for r in rows if r[2] == "delete"]:
        rows.remove(row)
    if not any(isinstance(e, dict) for row in answers(rows) for e in told(row)):
        raise LookupError


DEFECTS: dict[Callable[[list[Row], random.Random], None], set[str]] = {
    lose: {"gap"},
    repeat: {"duplicate-event"},
    swap: {"out-of-order"},
    again_after_resuming: {"duplicate-event"},
    late_behind_a_bookmark: {"behind-bookmark"},
    bookmark_too_far: {"gap", "behind-bookmark"},
    invent: {"uncommitted-event"},
    tell_of_a_failed_write: {"uncommitted-event"},
    tell_before_it_began: {"future-event"},
    wrong_revision: {"wrong-revision"},
    wrong_value: {"wrong-value"},
    twice_made: {"repeated-write"},
    unwatched: {"unwatched-key"},
    other_told: {"disagreement"},
    before_its_start: {"before-start"},
    needlessly_compacted: {"needless-compaction"},
    deletion_of_nobody: {"uncommitted-event"},
}


@pytest.mark.parametrize("plant", DEFECTS, ids=lambda plant: plant.__name__)
def test_a_planted_defect_is_found_and_proves_itself(plant: Any) -> None:
    planted = 0
    for seed in range(60):
        rows = [
            [*row[:4], list(row[4]) if isinstance(row[4], list) else row[4]]
            for row in Store(seed).run(40)
        ]
        try:
            plant(rows, random.Random(seed))
        except (IndexError, LookupError, StopIteration, ValueError):
            continue  # this history has no place for the defect
        planted += 1
        history = history_of(rows)
        result = watch()(history)
        assert result.verdict is Verdict.INVALID, (seed, result.reason)
        assert set(kinds(result)) & DEFECTS[plant], (seed, [f.sentence for f in result.findings])
        stands_alone(history, result)
    assert planted >= 15


# By definition ------------------------------------------------------------------------------------


def streams_of(history: History) -> Iterator[tuple[int | None, list[Op]]]:
    """Watches that go on from each other, with the revision the first began at."""
    last: dict[Any, tuple[list[Op], int]] = {}
    done: list[tuple[int | None, list[Op]]] = []
    for op in history.ops():
        if op.f != "watch" or op.type != "ok":
            continue
        name = repr({k: v for k, v in op.input.items() if k != "from"}), op.process
        wanted = op.input["from"]
        before = last.get(name)
        if (
            before is not None
            and before[1] + 1 == wanted
            and "compacted" not in before[0][-1].output
        ):
            before[0].append(op)
            stream, up_to = before
        else:
            stream, up_to = [op], wanted - 1
            done.append((wanted, stream))
        revisions = [event[0] for event in op.output["events"]]
        last[name] = stream, max([up_to, op.output.get("revision", -1), *revisions])
    yield from done


def broken(history: History) -> bool:
    """Whether any guarantee is broken, each by its definition."""
    ops = list(history.ops())
    writes = [op for op in ops if op.f == "put" and op.type != "fail"]
    at = {(op.output["revision"], op.key): op for op in writes if op.type == "ok"}
    events = [(op, event) for op in ops if op.f == "watch" and op.type == "ok"
              for event in op.output["events"]]  # fmt: skip
    places: dict[Any, tuple[Any, int]] = {}
    for op, (revision, key, value) in sorted(events, key=lambda each: each[0].complete):
        if places.setdefault((revision, key), (value, op.complete))[0] != value:
            return True
    if any(op.f == "put" for op in ops) and not explained(places, writes, at):
        return True
    for start, stream in streams_of(history):
        assert start is not None
        had: list[list[Any]] = []
        up_to = start - 1
        for op in stream:
            now = up_to
            for event in op.output["events"]:
                wrong = not watched(op.input, event[1]) or event[0] < op.input["from"]
                again = any(event[:2] == other[:2] or event[0] < other[0] for other in had)
                if wrong or again or event[0] <= up_to:
                    return True
                had.append(event)
                now = max(now, event[0])
            up_to = max(now, op.output.get("revision", -1))
            if "compacted" in op.output and op.output["compacted"] <= up_to + 1:
                return True
        for revision, key in {*places, *at}:
            seen = any(event[:2] == [revision, key] for event in had)
            if start <= revision <= up_to and watched(stream[0].input, key) and not seen:
                return True
    return False


def watched(asked: Any, key: str) -> bool:
    return str(key).startswith(asked.get("prefix", "")) and asked.get("key", key) == key


def explained(places: dict[Any, tuple[Any, int]], writes: list[Op], at: dict[Any, Op]) -> bool:
    """Whether every event can have a write of its own: tried in all ways."""

    def fits(place: Any, write: Op) -> bool:
        value, over = places[place]
        there = write.type != "ok" or write.output["revision"] == place[0]
        return write.key == place[1] and write.input == value and write.invoke < over and there

    def assign(left: list[Any], free: list[Op]) -> bool:
        if not left:
            return True
        choices = [w for w in free if fits(left[0], w) and at.get(left[0], w) is w]
        return any(assign(left[1:], [w for w in free if w is not c]) for c in choices)

    return assign(list(places), writes)


@st.composite
def watch_histories(draw: Any) -> History:
    """A few writes and watches, told of what may and may not be."""
    rows: list[Row] = []
    opened: dict[int, Row] = {}
    revision, spare = 0, 100
    for _ in range(draw(st.integers(2, 16))):
        process = draw(st.sampled_from([0, 1, 10, 10, 11]))
        if process in opened:
            row = opened.pop(process)
            if row[2] == "put":
                kind = draw(st.sampled_from(["ok", "ok", "ok", "fail"]))
                revision += 1
                rows.append([row[0], kind, "put", row[3], {"revision": revision}])
            else:
                rows.append([row[0], "ok", "watch", None, told_of(draw, row[4], rows)])
            continue
        if process < 10:
            row = [process, "invoke", "put", draw(st.sampled_from(["a", "b"])),
                   draw(st.sampled_from("xyz"))]  # fmt: skip
            if draw(st.integers(0, 4)) == 0:
                spare += 1
                revision += draw(st.integers(0, 1))
                rows += [[spare, *row[1:]], [spare, "info", "put", row[3], row[4]]]
                continue
        else:
            asked = draw(st.sampled_from([{}, {"key": "a"}, {"prefix": "b"}]))
            row = [process, "invoke", "watch", None, {"from": draw(st.integers(1, 4)), **asked}]
        opened[process] = row
        rows.append(row)
    return history_of(rows)


def told_of(draw: Any, asked: Any, rows: list[Row]) -> Any:
    """Mostly what is true; sometimes changed."""
    values = {n: (r[3], r[4]) for n, r in enumerate(rows) if r[1] == "invoke" and r[2] == "put"}
    true: list[Any] = []
    for n, row in enumerate(rows):
        if row[2] == "put" and row[1] == "ok":
            invoked = max(i for i in values if i < n and rows[i][0] == row[0])
            true.append([row[4]["revision"], *values[invoked]])
    events = [e for e in sorted(true) if e[0] >= asked["from"] and watched(asked, e[1])]
    events = events[: draw(st.integers(0, len(events)))]
    if draw(st.integers(0, 2)) == 0:
        wild = [
            draw(st.integers(1, 5)),
            draw(st.sampled_from(["a", "b"])),
            draw(st.sampled_from("xyz")),
        ]
        events.insert(draw(st.integers(0, len(events))), wild)
    answer: dict[str, Any] = {"events": events}
    if draw(st.integers(0, 3)) == 0:
        answer["revision"] = draw(st.integers(1, 5))
    if draw(st.integers(0, 7)) == 0:
        answer["compacted"] = draw(st.integers(1, 6))
    return answer


@settings(max_examples=600, deadline=None)
@given(watch_histories())
def test_watches_by_definition(history: History) -> None:
    result = watch()(history)
    told_wrong = [finding.sentence for finding in result.findings]
    assert (result.verdict is Verdict.INVALID) == broken(history), told_wrong or list(history.ops())
    stands_alone(history, result)


# Single cases -------------------------------------------------------------------------------------

PUTS = ("op 0 put x: 'a' -> {'revision': 1}", "op 0 put y: 'b' -> {'revision': 2}")


def test_several_keys_of_one_revision_come_together() -> None:
    both = [[1, "x", "a"], [1, "y", "b"]]
    valid(watch()(h(f"op 5 watch {{'from': 1}} -> {both}")))
    torn = h(f"op 5 watch {{'from': 1}} -> {both[:1]}", f"op 5 watch {{}} -> {both[1:]}")
    invalid(watch()(torn), "torn-revision", history=torn)
    stands_alone(torn, watch()(torn))


def test_a_hole_is_one_finding_however_much_is_missing() -> None:
    puts = [f"op 0 put x: {n} -> {{'revision': {n}}}" for n in range(1, 31)]
    hole = h(*puts, "op 5 watch {'from': 1} -> [[1, 'x', 1], [20, 'x', 20], [30, 'x', 30]]")
    result = watch()(hole)
    assert [finding.detail["missing"] for finding in result.findings] == [18, 9]


def test_answers_that_only_repeat_the_input_tell_no_revision() -> None:
    echoed = h("op 0 put x: 7 -> 7", "op 5 watch {'from': 1} -> [[1, 'x', 7]]")
    valid(watch()(echoed))
    invalid(watch()(h("op 0 put x: 7 -> 9", "op 5 watch {'from': 1} -> [[1, 'x', 7]]")),
            "wrong-revision")  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("7", "a watch gives a list of events"),
        ("None", "a watch gives a list of events"),
        ("{'events': 3}", "a watch gives a list of events"),
        ("[[1, 'x']]", "an event is"),
        ("[[True, 'x', 1]]", "an event is"),
        ("[['1', 'x', 1]]", "an event is"),
        ("[{'revision': None, 'key': 'x'}]", "an event is"),
        ("[{'revision': 1, 'key': 'x', 'type': 'moved'}]", "an event is"),
        ("{'events': [], 'revision': '7'}", "revision is a whole number"),
        ("{'events': [], 'compacted': True}", "compacted is a whole number"),
    ],
)
def test_malformed_answers_are_refused_with_their_place(answer: str, why: str) -> None:
    result = watch()(h(*PUTS, f"op 5 watch {{'from': 1}} -> ok {answer}"))
    if answer == "None":  # the notation has the input as answer then
        result = watch()(History.from_events([
            Event(0, 0, 5, "invoke", "watch", None, {"from": 1}), Event(1, 1, 5, "ok", "watch"),
        ]))  # fmt: skip
    unknown(result, why)
    assert result.stats["malformed"] and "event" in result.reason


def test_malformed_questions_are_refused() -> None:
    for asked in ("{'from': True}", "{'from': '1'}", "'now'", "{'from': 1, 'prefix': 3}"):
        assert watch()(h(f"op 5 watch {asked} -> ok []")).stats.get("malformed"), asked
    unknown(watch()(h("op 0 put x: 1 -> {'revision': 'one'}")), "revision is a whole number")

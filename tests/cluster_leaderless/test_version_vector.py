"""Version vectors, siblings and the types that merge on them.

Method: random runs of three replicas that write, delete, repeat requests and merge, beside a twin
that keeps whole causal histories: sets of events, each with the set of events its client had seen.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.ablations.registry import find
from cluster.clocks.version_vector import (
    NOTHING,
    SEQS_MAX,
    SESSIONS_MAX,
    Dot,
    DottedVersions,
    KeyState,
    VersionVector,
    with_request,
)
from cluster.leaderless import crdts
from cluster.leaderless.commands import (
    DottedRules,
    LastWriterRules,
    decode_context,
    encode_context,
)
from cluster.leaderless.last_writer_wins import LastWriterWins, stamp_of
from cluster.leaderless.replica_states import decode_state, digest_of, encode_state
from cluster.leaderless.stamps import NoStamps
from cluster.wire import Command, Request

VECTORS = st.dictionaries(st.sampled_from("abcd"), st.integers(1, 4)).map(VersionVector)
DOTS = st.builds(Dot, st.sampled_from("abcd"), st.integers(1, 5))


def dots_of(vector: VersionVector) -> set[Dot]:
    return {Dot(actor, n) for actor, last in vector.pairs() for n in range(1, last + 1)}


@given(VECTORS, VECTORS, DOTS)
def test_a_vector_is_a_set_of_dots(one: VersionVector, other: VersionVector, dot: Dot) -> None:
    left, right = dots_of(one), dots_of(other)
    assert dots_of(one.join(other)) == left | right
    assert one.dominates(other) == (left >= right)
    assert one.concurrent(other) == (not left >= right and not right >= left)
    assert one.covers(dot) == (dot in left)
    assert one.with_dot(dot).covers(dot)
    assert decode_context(encode_context(one)) == one


class Replicas:
    """Three replicas of one key, and what their twin knows: event -> the events before it."""

    def __init__(self) -> None:
        self.states: list[KeyState] = [NOTHING] * 3
        self.known: list[dict[int, frozenset[int]]] = [{}, {}, {}]
        #: what was read: (context, events known there)
        self.reads: list[tuple[VersionVector, frozenset[int]]] = [(VersionVector(), frozenset())]
        #: what was asked, to be repeated: (request, event, events its client had seen)
        self.asked: list[tuple[Request, int, frozenset[int]]] = []
        self.erases: set[int] = set()
        self.repeated: set[int] = set()
        self.rules = [DottedRules(DottedVersions(), self._dots(n)) for n in range(3)]

    def _dots(self, number: int) -> Any:
        actor = f"n{number}"
        return lambda state: Dot(actor, state.vector[actor] + 1)

    def read(self, at: int) -> None:
        self.reads.append((self.states[at].vector, frozenset(self.known[at])))

    def write(self, at: int, read: int, erase: bool) -> None:
        context, past = self.reads[-1 - read % len(self.reads)]  # 0: the last that was read
        event = len(self.asked) + 1
        op, args = ("delete", ()) if erase else ("put", (event,))
        command = Command(op, "x", (*args, encode_context(context)))
        request = Request(1, f"s{event % 4}", event, event, command)
        self.asked.append((request, event, past))
        if erase:
            self.erases.add(event)
        self.carry_out(at, 0)

    def carry_out(self, at: int, number: int) -> None:
        """A request, the first time or again, at any replica."""
        if not self.asked:
            return
        request, event, past = self.asked[-1 - number % len(self.asked)]
        if any(event in known for known in self.known):
            self.repeated.add(event)
        self.states[at] = self.rules[at].change(self.states[at], request)
        self.known[at] = {**self.known[at], event: past}
        for seen in past:  # what the client had seen is known to have been
            self.known[at].setdefault(seen, frozenset())

    def merge(self, at: int, other: int) -> None:
        # over the wire, as replicas do
        sent = decode_state(encode_state(self.states[other]))
        self.states[at] = self.rules[at].merge(self.states[at], sent)
        for event, past in self.known[other].items():
            self.known[at][event] = self.known[at].get(event, frozenset()) | past

    def siblings(self, at: int) -> set[int]:
        """What the twin says is there: events that no known event had seen."""
        dead = set().union(*self.known[at].values()) if self.known[at] else set()
        alive = {event for event in self.known[at] if event not in dead}
        return alive - self.erases


#: mostly two of the three, so that they meet again
REPLICA = st.sampled_from([0, 1, 0, 1, 2])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), REPLICA),
        st.tuples(st.just("write"), REPLICA, st.integers(0, 3), st.just(False)),
        st.tuples(st.just("write"), REPLICA, st.integers(0, 3), st.booleans()),
        st.tuples(st.just("carry_out"), REPLICA, st.integers(0, 3)),
        st.tuples(st.just("merge"), REPLICA, REPLICA),
    ),
    max_size=20,
)


@settings(max_examples=250)
@given(STEPS)
def test_siblings_are_those_of_whole_histories(steps: list[tuple[Any, ...]]) -> None:
    run = Replicas()
    for name, *arguments in steps:
        getattr(run, name)(*arguments)
        for at in range(3):
            values = run.states[at].values()
            assert len(values) == len(set(values))
            # a replica may not know yet that a request it took is one that was replaced elsewhere
            assert run.siblings(at) <= set(values) <= run.siblings(at) | run.repeated, (at, steps)
    for at, other in ((0, 1), (0, 2), (1, 0), (2, 0)):
        run.merge(at, other)
    for at in range(3):
        assert set(run.states[at].values()) == run.siblings(at), (at, steps)


@given(STEPS)
def test_merging_reached_states_is_a_join(steps: list[tuple[Any, ...]]) -> None:
    run = Replicas()
    for name, *arguments in steps:
        getattr(run, name)(*arguments)
    a, b, c = run.states
    merge = DottedVersions().merge
    assert merge(a, a) == a
    assert merge(a, b) == merge(b, a)
    assert merge(merge(a, b), c) == merge(a, merge(b, c))
    joined = merge(a, b)
    assert merge(joined, a) == joined and merge(joined, b) == joined
    assert joined.vector.dominates(a.vector) and joined.vector.dominates(b.vector)


def test_concurrent_writes_stay_and_a_later_one_replaces_what_it_read() -> None:
    rules = DottedVersions()
    nothing = VersionVector()
    one = rules.write(NOTHING, nothing, dot=Dot("a", 1), value=1)
    two = rules.write(NOTHING, nothing, dot=Dot("b", 1), value=2)
    both = rules.merge(one, two)
    assert both.values() == [1, 2]
    three = rules.write(both, one.vector, dot=Dot("a", 2), value=3)
    assert three.values() == [3, 2]
    assert rules.merge(three, both).values() == [3, 2]
    gone = rules.write(three, three.vector, dot=None)
    assert gone.values() == [] and gone.is_tombstone and not NOTHING.is_tombstone


def test_dots_tell_two_writes_with_the_same_old_context_apart() -> None:
    """With a vector per server alone, the second would seem to have seen the first."""
    rules, ablated = DottedVersions(), find("A35b").override()
    one = rules.write(NOTHING, VersionVector(), dot=Dot("a", 1), value=1)
    assert rules.write(one, VersionVector(), dot=Dot("a", 2), value=2).values() == [1, 2]
    assert ablated.write(one, VersionVector(), dot=Dot("a", 2), value=2).values() == [2]


def test_a_request_that_two_coordinators_took_is_one_event() -> None:
    rules = DottedVersions()
    request = ("s", 7)
    one = rules.write(NOTHING, VersionVector(), dot=Dot("a", 1), value=1, request=request)
    two = rules.write(NOTHING, VersionVector(), dot=Dot("b", 1), value=1, request=request)
    assert rules.merge(one, two).values() == [1]
    # replaced where only one of its dots was known, it does not come back under the other
    after = rules.write(one, one.vector, dot=Dot("a", 2), value=2, request=("t", 1))
    assert rules.merge(after, two).values() == [2]
    assert rules.merge(two, after).values() == [2]


def test_a_request_replaced_under_one_dot_is_replaced_under_the_other() -> None:
    """The client read at one coordinator and wrote at the other, which knew it by its own dot."""
    rules = DottedVersions()
    request = ("s", 1)
    one = rules.write(NOTHING, VersionVector(), dot=Dot("a", 1), value=1, request=request)
    two = rules.write(NOTHING, VersionVector(), dot=Dot("b", 1), value=1, request=request)
    after = rules.write(two, one.vector, dot=Dot("b", 2), value=2, request=("t", 1))
    assert after.values() == [1, 2], "it cannot know yet"
    assert rules.merge(after, one).values() == [2]
    assert rules.merge(one, after).values() == [2]


def test_the_memory_of_requests_is_bounded_and_forgets_the_oldest() -> None:
    state = NOTHING
    for seq in range(1, 3 * SEQS_MAX):
        state = with_request(state, ("s", seq))
    assert state.has_seen(("s", 3 * SEQS_MAX - 1)) and not state.has_seen(("s", 1))
    assert len(state.seen[0].seqs) == SEQS_MAX
    rules = DottedVersions()
    for number in range(1, SESSIONS_MAX + 20):
        dot = Dot("a", number)
        read = state.vector
        state = rules.write(state, read, dot=dot, value=1, request=(f"t{number}", 1))
    assert len(state.seen) == SESSIONS_MAX
    assert state.has_seen((f"t{SESSIONS_MAX + 19}", 1)) and not state.has_seen(("t1", 1))


def test_what_is_no_context_is_refused_in_a_sentence() -> None:
    rules = DottedRules(DottedVersions(), lambda state: Dot("a", 1))
    for wrong in ("xyz", "00", 7, encode_context(VersionVector({"a": 1}))[:-2]):
        problem = rules.problem(Command("put", "x", (1, wrong)))
        assert "is none that a read gave" in problem, wrong
    assert rules.problem(Command("put", "x", (1, encode_context(VersionVector({"a": 1}))))) == ""
    assert "takes 0 to 0 arguments" in rules.problem(Command("get", "x", (1,)))
    assert "there is no operation 'cas'" in rules.problem(Command("cas", "x", (1, 2)))
    assert "whole number" in rules.problem(Command("counter-incr", "x", (True,)))
    last = LastWriterRules(LastWriterWins(), "n1", NoStamps())
    assert "needs versions=dotted" in last.problem(Command("set-add", "x", (1,)))
    assert "takes 1 to 1 arguments" in last.problem(Command("put", "x", (1, "00")))


# -- types that merge ------------------------------------------------------------------------------

SET_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set-add"), st.integers(0, 2), st.integers(0, 3)),
        st.tuples(st.just("set-remove"), st.integers(0, 2), st.integers(0, 3)),
        st.tuples(st.just("counter-incr"), st.integers(0, 2), st.integers(-3, 3)),
        st.tuples(st.just("again"), st.integers(0, 2), st.integers(0, 9)),
        st.tuples(st.just("merge"), st.integers(0, 2), st.integers(0, 2)),
    ),
    max_size=25,
)


class Types:
    """A set and a counter on three replicas, beside what they mean.

    The twin of the set keeps each addition as an event, and what each removal had seen of them; the
    twin of the counter keeps each request.
    """

    def __init__(self) -> None:
        self.sets = [NOTHING] * 3
        self.counters = [NOTHING] * 3
        self.added: list[dict[int, int]] = [{}, {}, {}]
        self.removed: list[set[int]] = [set(), set(), set()]
        self.amounts: list[dict[int, int]] = [{}, {}, {}]
        self.asked: list[tuple[str, int, int]] = []
        self.rules = [DottedRules(DottedVersions(), self._dots(n)) for n in range(3)]

    def _dots(self, number: int) -> Any:
        actor = f"n{number}"
        return lambda state: Dot(actor, state.vector[actor] + 1)

    def do(self, op: str, at: int, argument: int) -> None:
        if op == "merge":
            self.merge(at, argument)
        elif op == "again":
            if self.asked:
                number = argument % len(self.asked)
                name, value, event = self.asked[number]
                if name != "set-remove":  # a removal repeated is one of what is there by then
                    self.carry_out(name, at, value, event)
        else:
            self.asked.append((op, argument, len(self.asked) + 1))
            self.carry_out(op, at, argument, len(self.asked))

    def carry_out(self, op: str, at: int, value: int, event: int) -> None:
        request = Request(1, "s", event, event, Command(op, "x", (value,)))
        if op == "counter-incr":
            self.counters[at] = self.rules[at].change(self.counters[at], request)
            self.amounts[at][event] = value
            return
        self.sets[at] = self.rules[at].change(self.sets[at], request)
        if op == "set-add":
            # an addition replaces those of the same element that were there
            old = {e for e, v in self.added[at].items() if v == value and e != event}
            if event not in self.added[at]:
                self.removed[at] |= old
            self.added[at][event] = value
        else:
            self.removed[at] |= {e for e, v in self.added[at].items() if v == value}

    def merge(self, at: int, other: int) -> None:
        rules = self.rules[at]
        self.sets[at] = rules.merge(self.sets[at], self.sets[other])
        self.counters[at] = rules.merge(self.counters[at], self.counters[other])
        self.added[at] |= self.added[other]
        self.removed[at] |= self.removed[other]
        self.amounts[at] |= self.amounts[other]

    def elements(self, at: int) -> set[int]:
        return {v for e, v in self.added[at].items() if e not in self.removed[at]}


@given(SET_STEPS)
def test_sets_and_counters_mean_what_they_should(steps: list[tuple[str, int, int]]) -> None:
    run = Types()
    for step in steps:
        run.do(*step)
        for at in range(3):
            assert set(crdts.elements(run.sets[at])) == run.elements(at), steps
            assert crdts.total(run.counters[at]) == sum(run.amounts[at].values()), steps


@given(SET_STEPS)
def test_their_states_merge_as_a_join(steps: list[tuple[str, int, int]]) -> None:
    run = Types()
    for step in steps:
        run.do(*step)
    merge = DottedVersions().merge
    for a, b, c in (run.sets, run.counters):
        assert merge(a, a) == a
        assert merge(a, b) == merge(b, a)
        assert merge(merge(a, b), c) == merge(a, merge(b, c))


def test_a_concurrent_addition_survives_a_removal() -> None:
    rules = DottedVersions()
    one = crdts.add_element(rules, NOTHING, "e", Dot("a", 1), ("s", 1))
    two = crdts.add_element(rules, NOTHING, "e", Dot("b", 1), ("t", 1))
    gone = crdts.remove_element(rules, one, "e", ("s", 2))
    assert crdts.elements(gone) == [] and crdts.elements(rules.merge(gone, two)) == ["e"]


def test_1_and_true_are_two_elements() -> None:
    rules = DottedVersions()
    state = crdts.add_element(rules, NOTHING, 1, Dot("a", 1), ("s", 1))
    state = crdts.add_element(rules, state, True, Dot("a", 2), ("s", 2))
    assert len(crdts.elements(state)) == 2


# -- last writer wins ------------------------------------------------------------------------------

WRITES = st.lists(
    st.tuples(st.integers(1, 5), st.sampled_from(["n1", "n2"]), st.integers(1, 6)), max_size=8
)


@given(st.lists(WRITES, min_size=3, max_size=3))
def test_the_last_writer_wins_as_a_join(groups: list[list[tuple[int, str, int]]]) -> None:
    rules = LastWriterWins()
    states = []
    for group in groups:
        state = NOTHING
        for stamp, node, seq in group:
            state = rules.write(state, Dot(node, stamp), seq * 10, ("s", seq))
        expected = max(((stamp, node) for stamp, node, _ in group), default=(0, ""))
        assert stamp_of(state) == expected
        states.append(state)
    a, b, c = states
    assert rules.merge(a, b) == rules.merge(b, a)
    assert rules.merge(rules.merge(a, b), c) == rules.merge(a, rules.merge(b, c))
    assert digest_of(rules.merge(a, a)) == digest_of(a)


def test_a_vector_is_no_key_of_a_dictionary() -> None:
    with pytest.raises(TypeError, match="compared by content"):
        {VersionVector(): 1}

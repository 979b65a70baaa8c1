"""All orders of delivery for two proposers and three acceptors of one register.

Goal: no two values are chosen. Method: every state that can be reached is visited once; a state is
what acceptors, attempts and the network hold. A move delivers one message that is under way, or
lets a proposer give its attempt up and begin its second, at any moment. Whatever is never delivered
is lost, so loss needs no move of its own. What is chosen is looked up at the acceptors, so their
last answers are left out. Each proposer writes its own value if there is none, so at most one value
may ever be accepted by a majority. The decisions are those of the real parts; with one of them
ablated the same search must find two values.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from cluster.ablations.registry import ablate
from cluster.consensus.paxos import NO_BALLOT, NO_VALUE, Acceptor, Attempt
from cluster.core.paxos_register import PaxosParts
from cluster.wire import Ballot, RegisterAccept, RegisterPrepare, RegisterPromise

ACCEPTORS = ("a1", "a2", "a3")
PROPOSERS = ("p1", "p2")
STATES_MAX = 4_000_000

Memory = tuple[Ballot, Ballot, bytes]


class Try(NamedTuple):
    """An attempt, as plain data."""

    ballot: Ballot
    number: int
    votes: tuple[tuple[str, bool], ...] = ()
    promises: tuple[tuple[Ballot, bytes], ...] = ()
    base: Ballot | None = None
    value: bytes = NO_VALUE


class State(NamedTuple):
    """A state of the whole."""

    memories: tuple[Memory, ...]
    tries: tuple[Try, ...]
    network: frozenset[tuple[str, str, Any]]
    #: (ballot, value) -> acceptors that ever accepted it
    accepted: frozenset[tuple[Ballot, bytes, str]]


class Search:
    """Visits the states.

    Args:
        parts: the classes whose decisions are taken.
        attempts: how many attempts each proposer may make.
    """

    def __init__(self, parts: PaxosParts, *, attempts: tuple[int, int]) -> None:
        self.parts, self.attempts = parts, attempts

    def begin(self) -> State:
        state = State(((NO_BALLOT, NO_BALLOT, NO_VALUE),) * 3, (), frozenset(), frozenset())
        tries, network = [], set()
        for name in PROPOSERS:
            ballot = self.parts.clock(name, 0).next()
            tries.append(Try(ballot, 1))
            network |= {(name, a, RegisterPrepare("x", ballot)) for a in ACCEPTORS}
        return state._replace(tries=tuple(tries), network=frozenset(network))

    def visited(self) -> tuple[int, set[bytes]]:
        """How many states there are, and every value that is chosen in one of them, together with
        another; empty if no state has two."""
        start = self.begin()
        seen, left = {start}, [start]
        while left:
            state = left.pop()
            values = chosen(state)
            if len(values) > 1:
                return len(seen), values
            for after in self.moves(state):
                if after not in seen:
                    seen.add(after)
                    left.append(after)
            assert len(seen) < STATES_MAX, "more states than this search is for"
        return len(seen), set()

    def moves(self, state: State) -> Iterator[State]:
        for envelope in state.network:
            source, to, message = envelope
            rest = state._replace(network=state.network - {envelope})
            if to in ACCEPTORS:
                after = self.at_acceptor(rest, source, ACCEPTORS.index(to), message)
            else:
                after = self.at_proposer(rest, source, PROPOSERS.index(to), message)
            if after != rest:  # else it may as well stay under way for ever
                yield without_idle(after)
        for number, attempt in enumerate(state.tries):
            if attempt.number < self.attempts[number]:
                yield self.try_again(state, number, attempt)

    def try_again(self, state: State, number: int, attempt: Try) -> State:
        clock = self.parts.clock(PROPOSERS[number], 0)
        clock.observe(max(memory[0].round for memory in state.memories))
        clock.observe(attempt.ballot.round)
        ballot, name = clock.next(), PROPOSERS[number]
        # What the first attempt still hears is of no use to it, and what it sent stays under way.
        network = {each for each in state.network if each[1] != name}
        network |= {(name, a, RegisterPrepare("x", ballot)) for a in ACCEPTORS}
        return with_try(state, number, Try(ballot, attempt.number + 1), frozenset(network))

    def at_acceptor(self, state: State, source: str, place: int, message: Any) -> State:
        acceptor: Acceptor = self.parts.acceptor(*state.memories[place])
        name, answer = ACCEPTORS[place], None
        accepted = state.accepted
        if isinstance(message, RegisterPrepare) and acceptor.may_promise(message.ballot):
            acceptor.promise(message.ballot)
            answer = RegisterPromise("x", message.ballot, acceptor.accepted, acceptor.value)
        elif isinstance(message, RegisterAccept) and acceptor.may_accept(message.ballot):
            acceptor.accept(message.ballot, message.value)
            accepted = accepted | {(message.ballot, message.value, name)}
        memories = list(state.memories)
        memories[place] = (acceptor.promised, acceptor.accepted, acceptor.value)
        network = state.network
        if answer is not None:
            network = network | {(name, source, answer)}
        return State(tuple(memories), state.tries, network, accepted)

    def at_proposer(self, state: State, source: str, number: int, message: Any) -> State:
        attempt, name = self.restored(state.tries[number]), PROPOSERS[number]
        sent: set[tuple[str, str, Any]] = set()
        if attempt.promised(source, message):
            value, _ = attempt.found()
            accept = attempt.propose(value or name.encode())
            sent = {(name, a, accept) for a in ACCEPTORS}
        found = Try(
            attempt.ballot,
            state.tries[number].number,
            tuple(sorted(attempt._votes.items())),
            () if attempt.base is not None else tuple(sorted(attempt._promises)),
            attempt.base,
            attempt.value,
        )
        return with_try(state, number, found, state.network | sent)

    def restored(self, held: Try) -> Attempt:
        attempt = self.parts.attempt("x", held.ballot, ACCEPTORS)
        attempt._votes = dict(held.votes)
        attempt._promises = list(held.promises)
        attempt.base, attempt.value = held.base, held.value
        return attempt


def without_idle(state: State) -> State:
    """Without the promises that are of no use to their proposer any more."""
    waits = {name for name, attempt in zip(PROPOSERS, state.tries) if attempt.base is None}
    kept = {each for each in state.network if each[1] in ACCEPTORS or each[1] in waits}
    return state._replace(network=frozenset(kept))


def with_try(state: State, number: int, attempt: Try, network: frozenset[Any]) -> State:
    tries = list(state.tries)
    tries[number] = attempt
    return state._replace(tries=tuple(tries), network=network)


def chosen(state: State) -> set[bytes]:
    """The values that a majority has accepted under one ballot, now or before.

    As proposers see it: a copy that an acceptor acknowledges counts, whatever it kept.
    """
    by: dict[tuple[Ballot, bytes], set[str]] = {}
    for ballot, value, acceptor in state.accepted:
        by.setdefault((ballot, value), set()).add(acceptor)
    return {value for (_, value), acceptors in by.items() if len(acceptors) > 1}


def test_no_two_values_are_chosen_in_any_order_of_delivery() -> None:
    states, values = Search(PaxosParts(), attempts=(1, 1)).visited()
    assert not values
    assert states > 1_000, f"only {states} states: the search does not search"


@pytest.mark.slow
def test_no_two_values_are_chosen_when_a_proposer_tries_again() -> None:
    _, values = Search(PaxosParts(), attempts=(2, 1)).visited()
    assert not values


@pytest.mark.parametrize("name", ["A20q", "A21p", "A22p"])
def test_the_same_search_finds_two_values_where_a_decision_is_ablated(name: str) -> None:
    attempts = (2, 1) if name == "A21p" else (1, 1)
    _, values = Search(ablate(PaxosParts(), [name]), attempts=attempts).visited()
    assert values == {b"p1", b"p2"}

"""Which order of an illegal witness to show, and which operation to blame.

Problem. No order of the witness is legal, so every attempt gets stuck somewhere, and the reader is
shown where. Most attempts explain nothing: an operation that needs a value is stuck at once if
nothing has written the value yet, and says nothing of the real defect.

Solution. An attempt convinces if it goes as far as possible and ends at an operation whose value
had been there and was replaced. All legal prefixes of the witness are walked through and compared:

1. the operation that is stuck was possible in an earlier state of this order; or, second best,
   nothing in the witness that began before it ended could have made it possible;
2. more operations are in order;
3. what is stuck only observes; then, what was invoked last.

Invariants. The order shown is always a legal prefix. A witness may be illegal whatever the state
was before it. Then the initial state is an arbitrary start; where it leads to no good explanation,
the best start is taken. Witnesses are small; where one is too large to be walked through, the order
that the search found is shown.

Read by :mod:`.explain` and :mod:`.shrink`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from checkers.linearizability.problem import Problem
from checkers.linearizability.search.memoized_model import Machine
from checkers.linearizability.search.wgl import Outcome, Path, unwind

#: Witnesses of more operations are not walked through.
WALKED_MAX = 16

#: Steps all walks through one witness may take together.
STEPS_MAX = 20_000

#: With more states than this, only the initial state is begun from.
STATES_MAX = 256

#: How an operation that is stuck convinces: its value had been there; operations just before it
#: show another, whatever the state was before them; no operation shown could have put it there; one
#: could have.
WAS_THERE, CONTRADICTED, NEVER_THERE, LEFT_OUT = 3, 2, 1, 0


@dataclass
class Account:
    """One attempt to order a witness.

    Args:
        start: number of the state it begins from.
        path: the legal order shown, as (op index, state number after it).
        stuck: (op index, state number) of each required op that cannot come next, the one to blame
            first.
        anywhere: whether the witness is illegal from every known state.
        convincing: of the op to blame: WAS_THERE, CONTRADICTED, NEVER_THERE or LEFT_OUT.
    """

    start: int
    path: list[tuple[int, int]]
    stuck: list[tuple[int, int]]
    anywhere: bool = False
    convincing: int = WAS_THERE


def account(witness: Problem, machine: Machine, outcome: Outcome) -> Account:
    """How to tell that a witness is illegal.

    Args:
        witness: illegal from the initial state.
        machine: with which model; the states it knows are those that are begun from.
        outcome: of searching the witness from the initial state.
    """
    if len(witness) > WALKED_MAX:
        return _as_searched(witness, machine, outcome)
    walk = _Walk(witness, machine)
    best = walk.begin(machine.initial)
    if best is None:
        return _as_searched(witness, machine, outcome)
    if best.convincing == WAS_THERE or len(walk.states) > STATES_MAX:
        return best
    others = [walk.begin(state) for state in walk.states if state != machine.initial]
    if any(other is None for other in others):
        return best
    found = [best, *(other for other in others if other is not None)]
    chosen = max(found, key=lambda one: (one.convincing, len(one.path)))
    better = chosen.convincing > best.convincing and len(chosen.path) > len(best.path)
    return chosen if better else best


def _as_searched(witness: Problem, machine: Machine, outcome: Outcome) -> Account:
    """The longest order that the search found."""
    state = outcome.path[-1][1] if outcome.path else machine.initial
    done = sum(1 << index for index, _ in outcome.path)
    ends = [(index, state) for index in _available(witness, done)]
    ends.sort(key=lambda end: witness.end[end[0]])
    return Account(machine.initial, outcome.path, ends)


def _available(witness: Problem, done: int) -> list[int]:
    """The required operations that may come next in real time."""
    left = [i for i in range(len(witness)) if witness.required[i] and not done >> i & 1]
    soonest = min((witness.end[i] for i in left), default=0)
    return [i for i in left if witness.start[i] <= soonest]


@dataclass
class _Walk:
    """All legal prefixes of one witness.

    Args:
        witness: what to order.
        machine: its model.
    """

    witness: Problem
    machine: Machine
    states: list[int] = field(init=False)
    steps: int = 0

    def __post_init__(self) -> None:
        witness, machine = self.witness, self.machine
        self.classes = [machine.class_number(op) for op in witness.ops]
        self.readonly = [machine.class_readonly[number] for number in self.classes]
        for op_class in self.classes:  # states that only these operations, out of order, lead to
            for state in range(min(len(machine.states), STATES_MAX)):
                machine.move(state, op_class)
        self.states = list(range(len(machine.states)))
        known = self.states[:STATES_MAX]
        self.fitting = [sum(1 << s for s in known if machine.move(s, c)) for c in self.classes]
        self.leads_to = [
            sum({1 << after for s in known for after in machine.move(s, c) if after != s})
            for c in self.classes
        ]

    def begin(self, state: int) -> Account | None:
        """The best attempt from this state; None if it is legal from there, or too much to walk."""
        self._known: dict[tuple[int, int, int, int], bool] = {}
        self._ends: list[tuple[int, int, int, Path | None]] = []
        self._legal = False
        self._go_on(0, state, -(1 << 60), 1 << state, None)
        if self._legal or self.steps > STEPS_MAX or not self._ends:
            return None
        return max((self._account(state, end) for end in self._ends), key=self._worth)

    def _go_on(self, done: int, state: int, latest: int, seen: int, path: Path | None) -> bool:
        """Whether some required operation more can be put in order from here."""
        place = (done, state, latest, seen)
        if self._legal or self.steps > STEPS_MAX:
            return True
        if place in self._known:
            return self._known[place]
        self.steps += 1
        witness, further = self.witness, False
        ready = _available(witness, done)
        if not ready:
            self._legal = True
            return True
        soonest = min(witness.end[i] for i in ready)
        for i in range(len(witness)):
            gone = witness.end[i] < latest and not witness.required[i]
            if done >> i & 1 or witness.start[i] > soonest or gone:
                continue
            for after in self.machine.move(state, self.classes[i]):
                now = max(latest, witness.start[i])
                more = self._go_on(done | 1 << i, after, now, seen | 1 << after, (path, i, after))
                further |= witness.required[i] or more
        self._known[place] = further
        if not further and (path is None or witness.required[path[1]]):
            self._ends.append((done, state, seen, path))
        return further

    def _account(self, start: int, end: tuple[int, int, int, Path | None]) -> Account:
        done, state, seen, path = end
        ready = sorted(
            _available(self.witness, done),
            key=lambda i: (self._convinces(i, seen), self.readonly[i], self.witness.start[i]),
            reverse=True,
        )
        convincing = self._convinces(ready[0], seen)
        stuck = [(index, state) for index in ready]
        anywhere = start != self.machine.initial
        if anywhere and path is not None:
            convincing = max(convincing, CONTRADICTED)
        return Account(start, unwind(path), stuck, anywhere=anywhere, convincing=convincing)

    def _convinces(self, index: int, seen: int) -> int:
        if self.fitting[index] & seen:
            return WAS_THERE
        begun = (
            j
            for j in range(len(self.witness))
            if j != index and self.witness.start[j] < self.witness.end[index]
        )
        could = any(self.leads_to[j] & self.fitting[index] for j in begun)
        return LEFT_OUT if could else NEVER_THERE

    def _worth(self, shown: Account) -> tuple[int, int, bool, int, int]:
        blamed = shown.stuck[0][0]
        ordered = sum(self.witness.required[index] for index, _ in shown.path)
        start = self.witness.start[blamed]
        return shown.convincing, ordered, self.readonly[blamed], start, -len(shown.path)

"""The simplest thing storage must equal: a list of entries, a hard state and a snapshot in memory.

``Model.states`` holds the state after every step a crash may end at; ``acknowledged`` is how many
of them are promised. Recovery must give one of the states from there on.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hypothesis import strategies as st

from cluster.ports import Append, Recovered, SaveSnapshot
from cluster.wire import Entry, HardState, Snapshot


@dataclass(frozen=True)
class State:
    hard_state: HardState = field(default_factory=HardState)
    snapshot: Snapshot | None = None
    entries: tuple[Entry, ...] = ()
    last_index: int = 0
    keep_from: int = 1

    def explains(self, recovered: Recovered) -> bool:
        """Whether recovery may say this: all wanted entries, and maybe some older ones."""
        if (recovered.hard_state, recovered.snapshot) != (self.hard_state, self.snapshot):
            return False
        got, have = recovered.entries, {e.index: e for e in self.entries}
        last = got[-1].index if got else max(self.last_index, 0)
        if last != self.last_index:
            return False
        if any(have.get(e.index) != e for e in got):
            return False
        wanted = [e for e in self.entries if e.index >= self.keep_from]
        return not wanted or list(got[-len(wanted) :]) == wanted


@dataclass
class Model:
    states: list[State] = field(default_factory=lambda: [State()])
    acknowledged: int = 0

    @property
    def now(self) -> State:
        return self.states[-1]

    def apply(self, effect: Append | SaveSnapshot) -> None:
        if isinstance(effect, SaveSnapshot):
            self.states.append(_after_snapshot(self.now, effect))
            return
        if effect.hard_state is not None:
            self.states.append(replace(self.now, hard_state=effect.hard_state))
        if effect.cut_from:
            kept = tuple(e for e in self.now.entries if e.index < effect.cut_from)
            cut = replace(self.now, entries=kept, last_index=effect.cut_from - 1)
            self.states.append(cut)
        if effect.entries:
            first = effect.entries[0].index
            kept = tuple(e for e in self.now.entries if e.index < first)
            entries = kept + effect.entries
            self.states.append(
                replace(self.now, entries=entries, last_index=effect.entries[-1].index)
            )

    def acknowledge(self) -> None:
        self.acknowledged = len(self.states) - 1

    def restart(self, recovered: Recovered) -> None:
        """Recovery happened: what it said is now the truth, if it was allowed to say so."""
        allowed = self.states[self.acknowledged :]
        matching = [s for s in allowed if s.explains(recovered)]
        assert matching, f"recovered {recovered}, none of {allowed}"
        self.states, self.acknowledged = [matching[-1]], 0


def _after_snapshot(state: State, effect: SaveSnapshot) -> State:
    if effect.reset_log:
        index = effect.snapshot.index
        return replace(
            state, snapshot=effect.snapshot, entries=(), last_index=index, keep_from=index + 1
        )
    keep_from = max(state.keep_from, min(effect.keep_from, effect.snapshot.index + 1))
    return replace(state, snapshot=effect.snapshot, keep_from=keep_from)


@dataclass(frozen=True)
class Step:
    """What to do next, relative to what is there: sizes and distances only."""

    kind: str
    a: int = 0
    b: int = 0


steps = st.lists(
    st.one_of(
        st.builds(
            Step, st.just("append"), st.integers(1, 4), st.sampled_from([0, 1, 30, 200, 700])
        ),
        st.builds(Step, st.just("append"), st.integers(1, 3), st.integers(0, 90)),
        st.builds(Step, st.just("cut"), st.integers(1, 6), st.integers(0, 120)),
        st.builds(Step, st.just("trim"), st.integers(1, 6), st.integers(0, 1)),
        st.builds(Step, st.just("vote")),
        st.builds(Step, st.just("sync")),
        st.builds(Step, st.just("sync")),
        st.builds(Step, st.just("snapshot"), st.integers(0, 4), st.integers(0, 3)),
        st.builds(Step, st.just("reset"), st.integers(0, 5)),
    ),
    max_size=25,
)


class Script:
    """Turns steps into effects that a core could issue in the model's present state."""

    def __init__(self) -> None:
        self.io_id = 0
        self.generation = 1

    def effect(self, step: Step, state: State) -> Append | SaveSnapshot | None:
        self.io_id += 1
        if step.kind == "append":
            return Append(self.io_id, None, self._entries(state.last_index + 1, step.a, step.b))
        self.generation += 1
        if step.kind == "vote":
            return Append(self.io_id, HardState(self.generation, f"n{self.io_id % 3}"))
        if step.kind in ("cut", "trim"):
            return self._cut(step, state)
        if step.kind == "snapshot":
            return self._snapshot(step, state)
        snapshot = Snapshot(state.last_index + 1 + step.a, self.generation, ("n1",), b"r" * 40)
        return SaveSnapshot(self.io_id, snapshot, snapshot.index + 1, reset_log=True)

    def _entries(self, first: int, count: int, size: int) -> tuple[Entry, ...]:
        data = bytes([self.io_id % 251]) * size
        return tuple(Entry(first + i, self.generation, "command", data) for i in range(count))

    def _cut(self, step: Step, state: State) -> Append | None:
        floor = max(state.keep_from, state.snapshot.index + 1 if state.snapshot else 1)
        first = max(floor, state.last_index + 1 - step.a)
        if first > state.last_index:
            return None
        hard_state = HardState(self.generation, "") if step.b % 2 else None
        if step.kind == "trim":
            return Append(self.io_id, hard_state, cut_from=first)
        return Append(self.io_id, hard_state, self._entries(first, 1 + step.b % 3, step.b))

    def _snapshot(self, step: Step, state: State) -> SaveSnapshot | None:
        done = state.snapshot.index if state.snapshot else 0
        covered = [e for e in state.entries if e.index > done]
        if not covered:
            return None
        last = covered[max(0, len(covered) - 1 - step.a)]
        snapshot = Snapshot(last.index, last.generation, ("n1", "n2"), b"s" * (step.b * 100))
        return SaveSnapshot(self.io_id, snapshot, last.index + 1 - step.b)

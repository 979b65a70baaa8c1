"""A second opinion on refutations of register histories whose version order is unknown.

For the weak levels (:mod:`checkers.isolation.weak_levels`) each step of a cycle is confirmed from
the raw operations: sessions, who read whose write, and where a commit order was forced, that the
third transaction did read one writer's value although the level made it see the other's. For causal
that takes the causal past, walked anew from the history. For serializability and snapshot isolation
(:mod:`checkers.isolation.serializability.serial`) every order of the transactions that a finding
names is tried, by replaying registers; reads of what none of them wrote are left out, which only
makes an order easier to find.

It shares nothing with the checkers it confirms: no columns, no vectors, no polygraph.
"""

from __future__ import annotations

from collections.abc import Hashable

from checkers.core.verdict import Because, Finding
from checkers.history import History, freeze
from checkers.isolation.predicates.matching import matches
from checkers.isolation.recheck import READS, WRITES, Witness, confirm, list_step, place, same

#: Partial orders tried before a second opinion on a refutation is left open.
STATES_MAX = 20_000


def confirm_weak(
    finding: Finding,
    history: History,
    level: str,
    *,
    past: Past | None = None,
    init: object = None,
) -> str:
    """Check a finding of a weak level.

    Args:
        finding: of :func:`checkers.isolation.weak`.
        history: the same history.
        level: the level.
        past: the history's, to share it between findings, and to say whether sessions count.
        init: what keys held before any write.

    Returns:
        "" if it holds, else what does not.
    """
    past = past or Past(history)
    if finding.kind != f"{level}-cycle":
        return confirm(finding, history)
    steps = finding.because
    if len(steps) == 1:
        return "" if _unseen(steps[0], past, level, init) else f"not confirmed: {steps[0].text}"
    closed = all(a.target == b.source for a, b in zip(steps, (*steps[1:], steps[0])))
    if not closed or len({step.source for step in steps}) != len(steps):
        return "the steps are no simple cycle"
    for step in steps:
        if not _weak_step(step, past, level):
            return f"not confirmed: {step.text}"
    return ""


def _weak_step(step: Because, past: Past, level: str) -> bool:
    history = past.history
    source, target = Witness(history, step.source), Witness(history, step.target)
    if source.type == "fail" or target.type == "fail":
        return False
    if step.kind == "process":
        return _session(source, target)
    if step.kind == "wr":
        return _read_from(target, source, step.key)
    if step.kind != "ww" or len(step.proof) != 1:
        return False
    if step.proof[0].kind == "version-order":
        return list_step(step, source, target, history)
    reader = Witness(history, step.proof[0].source)
    if reader.invoke in (source.invoke, target.invoke) or not source.wrote(step.key):
        return False
    if not _read_from(reader, target, step.key):
        return False
    return _visible(source, reader, step.key, past, level)


def _starting(value: object, key: object, init: object) -> bool:
    """Whether a value is what the key held before any write."""
    first = init.get(key, init.get(str(key))) if isinstance(init, dict) else init
    return same(value, first) or (first in (None, [], ()) and value in (None, [], ()))


def _unseen(step: Because, past: Past, level: str, init: object) -> bool:
    """A key read as never written, though the level made its writer visible."""
    history = past.history
    reader, writer = Witness(history, step.source), Witness(history, step.target)
    first = _list_read(reader, step.key) or reader.first_read(step.key)
    if writer.type == "fail":
        return False
    if level != "read-committed" and writer.wrote(step.key) and reader.asked:
        name = type(step.key), freeze(step.key)
        if name in _missed([reader], history).get(reader.invoke, ()):
            return reader.invoke != writer.invoke and _visible(
                writer, reader, step.key, past, level
            )
    if first is None:
        return False
    if level != "read-committed" and not _starting(first[0], step.key, init):
        return False
    said = [first[0], *reader.read(step.key)]
    if not any(_starting(v, step.key, init) for v in said) or not writer.wrote(step.key):
        return False
    return _visible(writer, reader, step.key, past, level)


def _list_read(reader: Witness, key: object) -> tuple[object] | None:
    """The elements by others in a list that it read, if it read one."""
    own = reader.wrote(key)
    for value in reader.read(key):
        if isinstance(value, (list, tuple)):
            return ([element for element in value if place(element, own) < 0],)
    return None


def _session(source: Witness, target: Witness) -> bool:
    """One after the other in a session; nothing follows what ended in doubt."""
    done = source.type == "ok" and source.complete < target.invoke
    return source.process == target.process and done


def _read_from(reader: Witness, writer: Witness, key: object) -> bool:
    """Whether a transaction read a value of the key that the other wrote."""
    wrote = writer.wrote(key)
    return any(place(value, wrote) >= 0 for value in _values(reader.read(key)))


def _values(reads: list[object]) -> list[object]:
    """The values read, elements of lists one by one."""
    flat: list[object] = []
    for value in reads:
        flat += value if isinstance(value, (list, tuple)) else [value] * (value is not None)
    return flat


def _visible(writer: Witness, reader: Witness, key: object, past: Past, level: str) -> bool:
    """Whether a level makes a writer visible to a reader's read of a key."""
    if level == "read-committed":
        return _seen_before(writer, reader, key)
    if past.sessions and _session(writer, reader):
        return True
    if any(_read_from(reader, writer, k) for _, k, _ in reader.mops):
        return True
    return level == "causal" and writer.invoke in past.of(reader)


def _seen_before(writer: Witness, reader: Witness, key: object) -> bool:
    """Whether the reader had read from the writer before it read the key from another."""
    seen = False
    for f, k, value in reader.mops:
        if f not in READS:
            continue
        mine = value is not None and place(value, writer.wrote(k)) >= 0
        if seen and same(k, key) and not mine:
            return True
        seen = seen or mine
    return False


class Past:
    """Happens-before of a history, by sessions and reads; computed when first asked."""

    def __init__(self, history: History, *, sessions: bool = True) -> None:
        self.history = history
        self.sessions = sessions
        self.wrote: dict[Hashable, int] | None = None
        self.previous: dict[int, int] = {}

    def _walk(self) -> dict[Hashable, int]:
        wrote: dict[Hashable, int] = {}
        last: dict[Hashable, int] = {}
        for invoke in self.history.invocations.tolist():
            txn = Witness(self.history, invoke)
            if txn.process in last:
                self.previous[invoke] = last[txn.process]
            if txn.type == "ok" and self.sessions:
                last[txn.process] = invoke
            for f, key, value in txn.mops if txn.type != "fail" else ():
                if f in WRITES:
                    wrote[_token(key, value)] = invoke
        return wrote

    def of(self, reader: Witness) -> set[int]:
        """Invocations of everything that happens before a transaction."""
        if self.wrote is None:
            self.wrote = self._walk()
        past: set[int] = set()
        waiting = [reader.invoke]
        while waiting:
            at = waiting.pop()
            txn = Witness(self.history, at)
            near = [self.previous[at]] if at in self.previous else []
            if txn.type == "ok":
                mops = [(k, v) for f, k, said in txn.mops if f in READS for v in _values([said])]
                reads = (_token(k, v) for k, v in mops)
                near += [self.wrote[token] for token in reads if token in self.wrote]
            for other in near:
                if other not in past and other != reader.invoke:
                    past.add(other)
                    waiting.append(other)
        return past


def _token(key: object, value: object) -> object:
    return type(key), freeze(key), type(value), freeze(value)


# Orders -------------------------------------------------------------------------------------------


def confirm_no_order(
    finding: Finding,
    history: History,
    level: str,
    *,
    promise: str = "process",
    init: object = None,
) -> str:
    """Try every order of the transactions a finding names.

    Args:
        finding: that no order explains them.
        history: the same history.
        level: what is refuted; one of snapshots if its name says so, else serial.
        promise: the order of transactions that must be kept: of ``process``, ``realtime`` or none.
        init: what keys held before any write; or a dict of keys to that.

    Returns:
        "" if there is none, or too many to try; else why the finding is doubted.
    """
    if finding.kind != f"not-{level}":
        return confirm(finding, history)
    transactions = [Witness(history, t["invoke"]) for t in finding.detail["transactions"]]
    if any(txn.type == "fail" for txn in transactions):
        return "it names a transaction that failed"
    missed = _missed(transactions, history) if any(txn.asked for txn in transactions) else {}
    search = _Orders(transactions, missed, snapshot="snapshot" in level, promise=promise, init=init)
    if search.exists() and search.left > 0:
        return "the transactions it names have an order"
    return ""


def _missed(transactions: list[Witness], history: History) -> dict[int, list[object]]:
    """Per transaction the keys that a predicate read did not return although all versions match.

    So it read them as they were at first. Versions are the last writes of all transactions but
    those that failed.
    """
    versions: dict[Hashable, tuple[object, list[object]]] = {}
    for invoke in history.invocations.tolist():
        txn = Witness(history, invoke)
        last = {(type(k), freeze(k)): (k, v) for f, k, v in txn.mops if f in WRITES}
        for name, (key, value) in last.items() if txn.type != "fail" else ():
            versions.setdefault(name, (key, []))[1].append(value)
    missed: dict[int, list[object]] = {}
    for txn in transactions:
        for before, predicate, found in txn.asked if txn.type == "ok" else ():
            settled = [k for f, k, _ in txn.mops[:before] if f in WRITES]
            settled += [k for k, _ in found]
            names = {(type(k), freeze(k)) for k in settled}
            missed.setdefault(txn.invoke, []).extend(
                name
                for name, (key, values) in versions.items()
                if name not in names and all(matches(predicate, key, v) for v in values)
            )
    return missed


class _Orders:
    """Depth-first search over orders of starts and commits, by replaying registers.

    A serial transaction commits where it starts.
    """

    def __init__(
        self,
        transactions: list[Witness],
        missed: dict[int, list[object]],
        *,
        snapshot: bool,
        promise: str,
        init: object,
    ) -> None:
        self.snapshot = snapshot
        self.realtime = promise == "realtime"
        self.lists = any(f == "append" for txn in transactions for f, _, _ in txn.mops)
        self.left = STATES_MAX
        self.dead: set[Hashable] = set()
        written = {
            _token(key, value) for txn in transactions for f, key, value in txn.mops if f in WRITES
        }
        lanes: dict[Hashable, list[Witness]] = {}
        for txn in sorted(transactions, key=lambda txn: txn.invoke):
            lane = lanes.setdefault(txn.process if promise else txn.invoke, [])
            if lane and lane[-1].type != "ok":  # it may take effect at any later time
                lane = lanes.setdefault((txn.process, txn.invoke), [])
            lane.append(txn)
        effect = _list_effect if self.lists else _effect
        self.txns = list(lanes.values())
        self.lanes = [[effect(txn, written, init) for txn in lane] for lane in self.txns]
        for lane, effects in zip(lanes.values(), self.lanes):
            for txn, (reads, _) in zip(lane, effects):
                for name in missed.get(txn.invoke, ()):
                    reads.setdefault(name, None)

    def exists(self) -> bool:
        """Whether some order explains every read; meaningless once ``left`` is 0."""
        return self._extend((0,) * len(self.lanes), {}, {})

    def _extend(
        self,
        at: tuple[int, ...],
        state: dict[Hashable, object],
        open_: dict[int, dict[Hashable, object]],
    ) -> bool:
        """Whether points placed so far can be completed."""
        if all(place == 2 * len(lane) for place, lane in zip(at, self.lanes)):
            return True
        token = (at, _items(state), tuple((lane, _items(open_[lane])) for lane in sorted(open_)))
        if token in self.dead or self.left <= 0:
            return self.left <= 0
        self.left -= 1
        for lane, position in enumerate(at):
            if position < 2 * len(self.lanes[lane]) and self._step(
                lane, position, at, state, open_
            ):
                return True
        self.dead.add(token)
        return False

    def _step(
        self,
        lane: int,
        position: int,
        at: tuple[int, ...],
        state: dict[Hashable, object],
        open_: dict[int, dict[Hashable, object]],
    ) -> bool:
        reads, writes = self.lanes[lane][position // 2]
        if position % 2:  # the commit: no other transaction may have committed to what it writes
            if any(state.get(key) != seen for key, seen in open_[lane].items()):
                return False
            rest = {other: seen for other, seen in open_.items() if other != lane}
            after = (*at[:lane], position + 1, *at[lane + 1 :])
            return self._extend(after, self._wrote(state, writes), rest)
        if self.realtime and self._early(self.txns[lane][position // 2], at):
            return False
        if any(state.get(key) != value for key, value in reads.items()):
            return False
        if not self.snapshot:
            after = (*at[:lane], position + 2, *at[lane + 1 :])
            return self._extend(after, self._wrote(state, writes), open_)
        after = (*at[:lane], position + 1, *at[lane + 1 :])
        return self._extend(after, state, {**open_, lane: {key: state.get(key) for key in writes}})

    def _early(self, txn: Witness, at: tuple[int, ...]) -> bool:
        """Whether one that completed before this was invoked has yet to commit."""
        left = (lane[place // 2] for lane, place in zip(self.txns, at) if place < 2 * len(lane))
        return any(other.type == "ok" and other.complete < txn.invoke for other in left)

    def _wrote(
        self, state: dict[Hashable, object], writes: dict[Hashable, object]
    ) -> dict[Hashable, object]:
        if not self.lists:
            return {**state, **writes}
        return state | {key: (*_listed(state.get(key)), *_listed(v)) for key, v in writes.items()}


def _listed(value: object) -> tuple[object, ...]:
    """The tokens of a list; of one that is absent, none."""
    return tuple(value) if isinstance(value, (tuple, list)) else ()


def _items(state: dict[Hashable, object]) -> tuple[object, ...]:
    return tuple(sorted(state.items(), key=repr))


def _list_effect(
    txn: Witness, written: set[Hashable], _: object
) -> tuple[dict[Hashable, object], dict[Hashable, object]]:
    """The same of lists: what was read of others here, and what was appended, as tuples."""
    reads: dict[Hashable, object] = {}
    writes: dict[Hashable, object] = {}
    own = {_token(key, value) for f, key, value in txn.mops if f in WRITES}
    for f, key, value in txn.mops:
        name = type(key), freeze(key)
        if f in WRITES:
            writes[name] = (*_listed(writes.get(name)), _token(key, value))
        elif txn.type == "ok" and name not in reads:
            tokens = (_token(key, element) for element in value or ())
            reads[name] = tuple(t for t in tokens if t in written and t not in own) or None
    return reads, writes


def _effect(
    txn: Witness, written: set[Hashable], init: object
) -> tuple[dict[Hashable, object], dict[Hashable, object]]:
    """External reads and last writes, as tokens; reads of values of other writers are left out."""
    reads: dict[Hashable, object] = {}
    writes: dict[Hashable, object] = {}
    for f, key, value in txn.mops:
        name, token = (type(key), freeze(key)), _token(key, value)
        if f in WRITES:
            writes[name] = token
        elif txn.type == "ok" and name not in writes and name not in reads:
            if _starting(value, key, init):
                reads[name] = None
            elif token in written:
                reads[name] = token
    return reads, writes

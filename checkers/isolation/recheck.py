"""A second opinion on a finding: each step confirmed from the raw history, by definition.

A refutation is only as good as its witness. :func:`confirm` takes a finding and the history, reads
the operations the finding names (nothing else, but for a garbage read), and checks by definition
that every step holds. It shares nothing with the inference: no columns, no version numbers.

What is checked of a step T1 < T2 over a list:

- wr: T2 read a list with T1's append in it;
- ww: the read named as proof has T1's append and, after it or not at all, T2's;
- rw: T1 read a list without T2's append, and T2 committed;
- rw-predicate: a predicate read of T1 did not return a key, and every version of it from T2's on
  matches, of the read named as proof and of the appends that no read shows;
- wr-predicate: a predicate read of T2 did not return a key; a version that matches was installed
  by a transaction from which the steps named lead to T2, and whatever comes after that version and
  does not match is T1's or comes after T1's.

Over a register, wr is the value; ww and rw need one version before the other, and the proof names
the transactions which show that (one that read the first and wrote the second, or two that dealt
with one after the other, in a session or in real time). A transaction of unknown outcome committed
if an append or write of its own was read; in a cycle that is so iff a ww or wr step leaves it.

The kinds of the steps must then fit the anomaly's name. No checker answers INVALID before its
finding passed here.

Source: Adya, *Weak Consistency*, for the definitions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from itertools import pairwise
from typing import Any

from checkers.core.verdict import Because, Finding
from checkers.history import History
from checkers.isolation.predicates.matching import Predicate, equal, items_of, matches

WRITES = ("append", "w", "write")
READS = ("r", "read")


class Witness:
    """One transaction of a finding, as the history has it."""

    def __init__(self, history: History, invoke: int) -> None:
        op = history.op(invoke)
        self.invoke, self.complete, self.process = op.invoke, op.complete, op.process
        self.type = op.type
        #: predicate reads: how many micro-operations precede it, the predicate, what it returned
        self.asked: list[tuple[int, Any, list[tuple[Any, Any]]]] = []
        recorded = op.output if op.type == "ok" and op.output is not None else op.input
        if (op.f in WRITES or op.f in READS) and not are_micro_ops(op.input, recorded):
            self.mops = [(op.f, op.key, recorded)]
        else:
            self.mops = []
            for f, key, value in recorded or ():
                if f != "rp":
                    self.mops.append((str(f), key, value))
                    continue
                if self.type != "ok" or value is None:
                    continue
                found = items_of(value) or []
                self.asked.append((len(self.mops), key, found))
                self.mops += [("r", item, said) for item, said in found]

    def wrote(self, key: object) -> list[Any]:
        """The values it wrote to a key, in order."""
        return [v for f, k, v in self.mops if f in WRITES and same(k, key)]

    def read(self, key: object) -> list[Any]:
        """The values it read of a key, in order; none if its outcome is not ok."""
        if self.type != "ok":
            return []
        return [v for f, k, v in self.mops if f in READS and same(k, key)]

    def first_read(self, key: object) -> tuple[Any] | None:
        """The values it read of a key before writing it, if any."""
        mine = [(f, v) for f, k, v in self.mops if same(k, key)]
        return (mine[0][1],) if self.type == "ok" and mine and mine[0][0] in READS else None

    def first_version(self, key: object) -> tuple[Any] | None:
        """The first version of a register it dealt with, in a tuple, or None."""
        wrote = self.wrote(key)
        return self.first_read(key) or ((wrote[-1],) if wrote else None)

    def last_version(self, key: object) -> tuple[Any] | None:
        """The last version of a register it dealt with, in a tuple, or None."""
        wrote = self.wrote(key)
        return (wrote[-1],) if wrote else self.first_read(key)


def are_micro_ops(*values: object) -> bool:
    """Whether any of these is a list of micro-operations: lists that begin with a name."""
    return any(
        isinstance(value, (list, tuple)) and len(value) > 0
        and all(isinstance(m, (list, tuple)) and len(m) in (2, 3) and isinstance(m[0], str)
                for m in value)
        for value in values
    )  # fmt: skip


#: 1, 1.0 and True are three values; a tuple is a list
same = equal


def place(value: object, values: Sequence[object] | None) -> int:
    """The first position of a value in a list, or -1."""
    return next((at for at, other in enumerate(values or ()) if same(value, other)), -1)


def confirm(finding: Finding, history: History) -> str:
    """Check a finding against the history it was found in.

    Args:
        finding: of :func:`checkers.isolation.list_append` or ``rw_register``.
        history: the same history.

    Returns:
        "" if every step holds, else the first that does not.
    """
    transactions = [Witness(history, t["invoke"]) for t in finding.detail["transactions"]]
    if "cycle" in finding.detail:
        return _cycle(finding, history)
    check = LOCAL.get(finding.kind)
    if check is None:
        return f"nothing here confirms {finding.kind}"
    return (
        ""
        if check(finding, transactions, history)
        else f"the operations named show no {finding.kind}"
    )


# Cycles -------------------------------------------------------------------------------------------


def _cycle(finding: Finding, history: History) -> str:
    steps = finding.because
    closed = all(a.target == b.source for a, b in zip(steps, (*steps[1:], steps[0])))
    if not steps or not closed or len({step.source for step in steps}) != len(steps):
        return "the steps are no simple cycle"
    txns = {step.source: Witness(history, step.source) for step in steps}
    for step in steps:
        source, target = txns[step.source], txns[step.target]
        if source.type == "fail" or target.type == "fail":
            return f"{step.text} A failed transaction is in the cycle."
        if source.type != "ok" and step.kind not in ("ww", "wr"):
            return f"{step.text} But the first has an unknown outcome."
        if step.kind == "wr-predicate" and (wrong := _no_way(step, history)):
            return wrong
        if not _step_holds(step, source, target, history):
            return f"not confirmed: {step.text}"
    ways = (p for step in steps if step.kind == "wr-predicate" for p in step.proof[0].proof)
    orders = {proof.kind for step in steps for proof in step.proof}
    kinds = [step.kind for step in steps]
    return shape(kinds, finding.kind, ways={p.kind for p in ways}, orders=orders)


def shape(
    kinds: Sequence[str],
    anomaly: str,
    *,
    ways: Set[str] = frozenset(),
    orders: Set[str] = frozenset(),
) -> str:
    """Why the kinds of a cycle's steps do not fit an anomaly's name, or "".

    Args:
        kinds: of its steps, in order.
        anomaly: the name.
        ways: the kinds of the steps that its wr-predicate steps rest on.
        orders: what the orders of versions rest on that its steps rest on.
    """
    name, extra = anomaly, {"ww", "wr", "rw"}
    used = {*kinds, *ways}
    for suffix, allowed in (("-process", {"process"}), ("-realtime", {"process", "realtime"})):
        if anomaly.endswith(suffix):
            name = anomaly.removesuffix(suffix)
            extra = extra | allowed
            if suffix[1:] not in used | orders:
                return f"{anomaly} without a {suffix[1:]} step"
    anti = ("rw",) if name.endswith("-item") else ("rw", "rw-predicate")
    if name in ("G-single", "G-nonadjacent", "G2"):
        extra = extra | {"rw-predicate", "wr-predicate"}
        if not {"rw-predicate", "wr-predicate"} & set(kinds):
            return f"{anomaly} without a predicate's step"
    name = name.removesuffix("-item")
    rw = sum(kind in anti for kind in kinds)
    apart = all(a not in anti or b not in anti for a, b in zip(kinds, (*kinds[1:], kinds[0])))
    fits = {
        "G0": not rw and "wr" not in kinds and "ww" in kinds,
        "G1c": not rw and "wr" in kinds,
        "G-single": rw == 1 or (rw == 0 and "wr-predicate" in kinds),
        "G-nonadjacent": rw >= 2 and apart,
        "G2": rw >= 2,
    }
    if used - extra or not fits.get(name, False):
        return f"steps {', '.join(kinds)} are no {anomaly}"
    return ""


def _step_holds(step: Because, source: Witness, target: Witness, history: History) -> bool:
    if step.kind == "process":
        return source.process == target.process and source.complete < target.invoke
    if step.kind == "realtime":
        return 0 <= source.complete < target.invoke
    if step.kind == "wr-predicate":
        return _stopped_matching(step, source, target, history)
    lists = any(f == "append" for f, _, _ in (*source.mops, *target.mops)) or any(
        isinstance(v, list) for v in source.read(step.key) + target.read(step.key)
    )
    if step.kind == "rw-predicate":
        return _missed(step, source, target, history, lists=lists)
    return (list_step if lists else _register_step)(step, source, target, history)


def list_step(step: Because, source: Witness, target: Witness, history: History) -> bool:
    """Whether a step between two transactions over a list holds, by what was appended and read."""
    key, value = step.key, step.value
    if step.kind == "wr":
        seen = any(place(value, read) >= 0 for read in target.read(key))
        return seen and place(value, source.wrote(key)) >= 0
    if place(value, target.wrote(key)) < 0:
        return False
    if step.kind == "rw":
        return any(place(value, read) < 0 for read in source.read(key))
    for read in (r for p in step.proof for r in Witness(history, p.source).read(key)):
        limit = place(value, read)
        earlier = read if limit < 0 else read[:limit]
        if any(place(mine, earlier) >= 0 for mine in source.wrote(key)):
            return True
    return False


def _register_step(step: Because, source: Witness, target: Witness, history: History) -> bool:
    key = step.key
    if step.kind == "wr":
        wrote = place(step.value, source.wrote(key)) >= 0
        return wrote and place(step.value, target.read(key)) >= 0
    if not step.proof:
        return False
    before, after = step.proof[0].value
    if place(after, target.wrote(key)) < 0:
        return False
    if step.kind == "rw" and place(before, source.read(key)) < 0:
        return False
    if step.kind == "ww" and place(before, source.wrote(key)) < 0:
        return False
    return version_before(step.proof[0], key, history)


def _missed(
    step: Because, source: Witness, target: Witness, history: History, *, lists: bool
) -> bool:
    """A predicate read without a key, all versions of which match from the target's on."""
    if place(step.value, target.wrote(step.key)) < 0:
        return False
    rest = _matching_lists if lists else _matching_registers
    for before, predicate, found in source.asked:
        mine = [f for f, k, _ in source.mops[:before] if same(k, step.key)]
        if any(same(k, step.key) for k, _ in found) or any(f in WRITES for f in mine):
            continue
        if rest(predicate, step, history):
            return True
    return False


def _no_way(step: Because, history: History) -> str:
    """Why the steps named do not lead from the writer of the match to the reader, or ""."""
    if not step.proof or step.proof[0].kind != "preceded" or not step.proof[0].proof:
        return f"not confirmed: {step.text}"
    preceded = step.proof[0]
    at = preceded.source
    for link in preceded.proof:
        source, target = Witness(history, link.source), Witness(history, link.target)
        sure = source.type == "ok" or (source.type != "fail" and link.kind in ("ww", "wr"))
        known = link.kind in ("ww", "wr", "process", "realtime")
        if link.source != at or not sure or not known or target.type == "fail":
            return f"not confirmed: {link.text}"
        if not _step_holds(link, source, target, history):
            return f"not confirmed: {link.text}"
        at = link.target
    return "" if at == preceded.target == step.target else f"not confirmed: {preceded.text}"


def _stopped_matching(step: Because, source: Witness, target: Witness, history: History) -> bool:
    """A predicate read without a key, which came after a version that matches."""
    shown = step.proof[0]
    wrote = Witness(history, shown.source).wrote(step.key)
    if not wrote or not same(wrote[-1], shown.value) or not same(shown.key, step.key):
        return False
    if place(step.value, source.wrote(step.key)) < 0 or target.wrote(step.key):
        return False
    if step.source == shown.source or step.target in (step.source, shown.source):
        return False
    rest = _stopped_in_list if "append" in {f for f, _, _ in source.mops} else _stopped_in_register
    return any(
        not any(same(k, step.key) for k, _ in found) and rest(predicate, step, history)
        for _, predicate, found in target.asked
    )


def _stopped_in_list(predicate: Predicate, step: Because, history: History) -> bool:
    """Whether the read named has the step's element where its lists first cease to match."""
    for proof in step.proof[1:]:
        for read in Witness(history, proof.source).read(step.key):
            low, high = place(step.proof[0].value, read), place(step.value, read)
            said = [matches(predicate, step.key, read[: at + 1]) for at in range(low, high + 1)]
            if 0 <= low < high and all(said[:-1]) and not said[-1]:
                return True
    return False


def _stopped_in_register(predicate: Predicate, step: Because, history: History) -> bool:
    """Whether all that does not match is before what did, or is the step's version or after it."""
    shown, key = step.proof[0].value, step.key
    if not matches(predicate, key, shown) or matches(predicate, key, step.value):
        return False
    pairs = [p.value for p in step.proof[1:] if version_before(p, key, history)]
    earlier, later = [shown], [step.value]
    for value in earlier:
        earlier += [a for a, b in pairs if same(b, value) and place(a, earlier) < 0]
    for value in later:
        later += [b for a, b in pairs if same(a, value) and place(b, later) < 0]
    left = (txn.wrote(key)[-1] for txn in writers_of(key, history))
    return place(step.value, earlier) < 0 and all(
        matches(predicate, key, v) or place(v, earlier) > 0 or place(v, later) >= 0 for v in left
    )


def writers_of(key: object, history: History) -> list[Witness]:
    """Every transaction that wrote a key and did not fail."""
    some = []
    for invoke in history.invocations.tolist():
        value = history.values[invoke]
        nested = isinstance(value, (list, tuple)) and value and isinstance(value[0], (list, tuple))
        if not nested or any(same(mop[1], key) for mop in value):
            some.append(Witness(history, invoke))
    return [txn for txn in some if txn.type != "fail" and txn.wrote(key)]


def _matching_registers(predicate: Predicate, step: Because, history: History) -> bool:
    """Whether every version that does not match is proved to be before the step's."""
    if not matches(predicate, step.key, step.value):
        return False
    steps = [p.value for p in step.proof if version_before(p, step.key, history)]
    earlier = [step.value]
    for value in earlier:
        earlier += [a for a, b in steps if same(b, value) and place(a, earlier) < 0]
    left = [txn.wrote(step.key)[-1] for txn in writers_of(step.key, history)]
    return all(matches(predicate, step.key, v) or place(v, earlier) > 0 for v in left)


def _matching_lists(predicate: Predicate, step: Because, history: History) -> bool:
    """Whether the lists of the read named as proof match from the step's value on, and longer ones.

    Without such a read every read of the key was empty.
    """
    reads = [r for p in step.proof for r in Witness(history, p.source).read(step.key)]
    longest = max((list(read or ()) for read in reads), key=len, default=[])
    at = place(step.value, longest)
    if longest and at < 0:
        return False
    for size in range(max(at, 0) + 1, len(longest) + 1):
        if not matches(predicate, step.key, longest[:size]):
            return False
    wrote = [v for txn in writers_of(step.key, history) for v in txn.wrote(step.key)]
    unread = [value for value in wrote if place(value, longest) < 0]
    if not longest and len(unread) == 1:
        return matches(predicate, step.key, unread)
    fields = predicate or {}
    if unread and "contains" in fields and place(fields["contains"], longest) < 0:
        return False
    lengths = {f: said for f, said in fields.items() if f != "contains"} or None
    grown = (longest + [None] * more for more in range(1, len(unread) + 1))
    return all(matches(lengths, step.key, some) for some in grown)


def version_before(proof: Because, key: object, history: History) -> bool:
    """Whether a proof shows that one version of a register comes before another."""
    before, after = proof.value
    if proof.kind == "initial":
        return not any(place(before, txn.wrote(key)) >= 0 for txn in writers_of(key, history))
    first, second = Witness(history, proof.source), Witness(history, proof.target)
    if proof.kind == "wfr":
        seen = first.first_read(key)
        return seen is not None and same(seen[0], before) and place(after, first.wrote(key)) >= 0
    ends = first.last_version(key), second.first_version(key)
    if first.type != "ok" or None in ends or not same(list(ends), [(before,), (after,)]):
        return False
    together = proof.kind == "realtime" or first.process == second.process
    return together and 0 <= first.complete < second.invoke


# Without cycles -----------------------------------------------------------------------------------


def _aborted(finding: Finding, transactions: list[Witness], history: History) -> bool:
    reader, writer = transactions
    value = finding.detail.get("element", finding.detail.get("value"))
    wrote = writer.type == "fail" and place(value, writer.wrote(finding.key)) >= 0
    return wrote and any(_shows(value, read) for read in reader.read(finding.key))


def _shows(value: object, read: object) -> bool:
    return place(value, read) >= 0 if isinstance(read, (list, tuple)) else same(value, read)


def _intermediate(finding: Finding, transactions: list[Witness], history: History) -> bool:
    reader, writer = transactions
    value = finding.detail.get("element", finding.detail.get("value"))
    at = place(value, writer.wrote(finding.key))
    last = [r[-1] if isinstance(r, (list, tuple)) and r else r for r in reader.read(finding.key)]
    overwritten = 0 <= at < len(writer.wrote(finding.key)) - 1
    return reader.invoke != writer.invoke and overwritten and place(value, last) >= 0


def _dirty(finding: Finding, transactions: list[Witness], history: History) -> bool:
    later, failed, reader = transactions
    element = finding.detail["element"]
    if later.type != "ok" or failed.type != "fail" or place(element, failed.wrote(finding.key)) < 0:
        return False
    for read in reader.read(finding.key):
        at = place(element, read)
        if at >= 0 and any(place(mine, read[at + 1 :]) >= 0 for mine in later.wrote(finding.key)):
            return True
    return False


def _mismatch(finding: Finding, transactions: list[Witness], history: History) -> bool:
    """A predicate read returned the key with a value that does not match."""
    return any(
        same(key, finding.key) and not matches(predicate, key, value)
        for _, predicate, found in transactions[0].asked
        for key, value in found
    )


def _hidden_from_itself(txn: Witness, key: object) -> bool:
    """A predicate read did not return a key that matches by the transaction's own operations."""
    for before, predicate, found in txn.asked:
        if any(same(k, key) for k, _ in found):
            continue
        later = [(f, v) for f, k, v in txn.mops[before:] if same(k, key)]
        if later and later[0][0] in READS and matches(predicate, key, later[0][1]):
            return True
        known: Any = ...
        for f, k, value in txn.mops[:before]:
            if same(k, key):
                grows = f == "append"
                if grows and known is ... and "length" in (predicate or {}):
                    continue
                known = [*(() if known is ... else known or ()), value] if grows else value
        if known is not ... and matches(predicate, key, known):
            return True
    return False


def _internal(finding: Finding, transactions: list[Witness], history: History) -> bool:
    """Replay the transaction's own operations on the key: some read is not what they call for."""
    if "predicate" in finding.detail:
        return _hidden_from_itself(transactions[0], finding.key)
    mine = [(f, v) for f, k, v in transactions[0].mops if same(k, finding.key)]
    lists = any(isinstance(v, (list, tuple)) or f == "append" for f, v in mine)
    known: Any = ...
    appended: list[object] = []
    for f, value in mine:
        if f in WRITES and not lists:
            known = value
        elif f in WRITES:
            appended.append(value)
            known = known if known is ... else [*known, value]
        else:
            got = list(value or []) if lists else value
            tail = got[len(got) - len(appended) :] if lists else []
            if known is not ... and not same(known, got):
                return True
            if known is ... and not same(tail, appended):
                return True
            known = got
    return False


def _future(finding: Finding, transactions: list[Witness], history: History) -> bool:
    mine = [(f, v) for f, k, v in transactions[0].mops if same(k, finding.key)]
    return any(
        f in READS and any(_shows(v, value) for g, v in mine[at + 1 :] if g in WRITES)
        for at, (f, value) in enumerate(mine)
    )


def _duplicate(finding: Finding, transactions: list[Witness], history: History) -> bool:
    element = finding.detail["element"]
    reads = transactions[0].read(finding.key)
    return any(sum(same(element, other) for other in read or ()) > 1 for read in reads)


def _incompatible(finding: Finding, transactions: list[Witness], history: History) -> bool:
    for one in transactions[0].read(finding.key):
        for two in transactions[-1].read(finding.key):
            length = min(len(one or ()), len(two or ()))
            if length and not same(list(one[:length]), list(two[:length])):
                return True
    return False


def _lost(finding: Finding, transactions: list[Witness], history: History) -> bool:
    one, two = transactions
    reads = one.first_read(finding.key), two.first_read(finding.key)
    if one.invoke == two.invoke or None in reads:
        return False
    both = bool(one.wrote(finding.key)) and bool(two.wrote(finding.key))
    empty: tuple[object, ...] = (None, [], ())
    seen = [None if read is None or read[0] in empty else read[0] for read in reads]
    return both and same(*seen)


def _garbage(finding: Finding, transactions: list[Witness], history: History) -> bool:
    value = finding.detail.get("element", finding.detail.get("value"))
    if not any(_shows(value, read) for read in transactions[0].read(finding.key)):
        return False
    for index, said in enumerate(history.values):
        nested = isinstance(said, (list, tuple)) and said and isinstance(said[0], (list, tuple))
        event = None if nested else history.event(index)
        for f, key, wrote in [(event.f, event.key, said)] if event else said:
            if f in WRITES and same(wrote, value) and same(key, finding.key):
                return False
    return True


def _versions(finding: Finding, transactions: list[Witness], history: History) -> bool:
    """Versions in a circle, each before the next by its own proof; or a list's, out of order."""
    if finding.because[0].kind == finding.kind:
        wrote = transactions[0].wrote(finding.key)
        first, second = finding.detail["values"]
        return 0 <= place(first, wrote) < place(second, wrote) and any(
            place(second, read) >= 0 and not 0 <= place(first, read) < place(second, read)
            for read in transactions[-1].read(finding.key)
        )
    steps = finding.because
    values = [step.value for step in steps]
    linked = all(same(a[1], b[0]) for a, b in pairwise([*values, values[0]]))
    return linked and all(version_before(step, finding.key, history) for step in steps)


LOCAL: dict[str, Callable[[Finding, list[Witness], History], bool]] = {
    "G1a": _aborted,
    "G1b": _intermediate,
    "dirty-update": _dirty,
    "internal": _internal,
    "predicate-mismatch": _mismatch,
    "future-read": _future,
    "duplicate-elements": _duplicate,
    "incompatible-order": _incompatible,
    "lost-update": _lost,
    "garbage-read": _garbage,
    "cyclic-versions": _versions,
}

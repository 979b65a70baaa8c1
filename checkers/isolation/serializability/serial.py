"""Serializability and snapshot isolation of read-write histories whose version order is unknown.

Deciding either is NP-complete: the order of the writes of each key has to be guessed. Four steps,
each of which may already settle it, for up to :data:`SMALL_MAX` transactions:

1. *Forced orders.* Start with sessions and reads-from. If t3 read x from t1 and another writer t2
   of x comes before t3, it comes before t1; if it comes after t1, it comes after t3. Repeat until
   nothing is new. A cycle refutes, and is shown.
2. *A guided search* (:mod:`checkers.isolation.serializability.greedy_serialization`) for a serial
   order, with the forced orders as vectors; a serial order is one for snapshot isolation, too.
3. *Frontier search*, for serializability of few sessions: a set of transactions closed under
   sessions determines what may come next, so there are only as many states as frontiers.
4. *A constraint solver* (python-sat, extra ``sat``): one boolean per undecided pair of writers of a
   key, which way round. Solve, look for a cycle among the edges this implies, forbid it, repeat.

More transactions, and fewer where there is no solver, are for the compiled search of
:mod:`checkers.isolation.serializability.saturation`, which derives and guesses in turn. Its
refutations come with few transactions that have no order either, for which the four steps serve.
For snapshot isolation a serial order is looked for first: where there is one it is the easier to
find.

For snapshot isolation an edge is a dependency or an anti-dependency, and only cycles without two
adjacent anti-dependencies count.

An order found is replayed by :func:`verify_serial_order` or :func:`verify_points`, which know
nothing of how it was found. A refutation is reduced to the fewest transactions that still have no
order (sound, since an order of the whole would give one of any part), and a search that shares
nothing with the polygraph tries every order of those.

Source: Biswas and Enea, OOPSLA 2019 (frontiers); Tan and others, *Cobra*, OSDI 2020, and Huang and
others, *PolySI*, VLDB 2023 (pruned polygraphs and solvers).
"""

from __future__ import annotations

import msgspec

from checkers.core import jit
from checkers.core.budget import Budget, Meter
from checkers.core.verdict import Because, Finding, Result, Verdict
from checkers.history import FAIL, OK, History
from checkers.isolation.explain import anomaly_finding
from checkers.isolation.inference.rw_register import RwRegister, VersionRules
from checkers.isolation.predicates.replay import missed_reads, why_unmatched
from checkers.isolation.recheck_orders import confirm_no_order
from checkers.isolation.serializability.greedy_serialization import guided_search
from checkers.isolation.serializability.polygraph import (
    Order,
    Polygraph,
    Txn,
    find_cycle,
    part_of,
    postorder,
    transactions,
)
from checkers.isolation.serializability.saturation import search_order
from checkers.isolation.serializability.session_frontier_search import (
    frontier_search,
    verify_serial_order,
)
from checkers.isolation.serializability.snapshot_points import (
    COMMIT,
    START,
    Points,
    points_of,
    search_points,
    verify_points,
)
from checkers.isolation.transaction_table import PREDICATES_UNSEEN, REGISTER_WRITES, Txns, columns

#: Transactions up to which the compiled search would not be worth its while.
SMALL_MAX = 200
#: Transactions up to which every order is tried.
TINY_MAX = 12
#: Transactions up to which the other is used where the compiled one has yet to be compiled.
MIDDLE_MAX = 2000
#: How much of the budget it may spend before the compiled one is compiled after all.
UNCOMPILED_SHARE = 0.25
#: Guesses turned round before snapshot isolation is no longer sought by way of a serial order.
SERIAL_CONFLICTS_MAX = 20
#: Transactions up to which every order is tried to confirm a refutation that was cut short.
CONFIRMED_MAX = 40
#: Transactions that a sentence names one by one.
NAMES_MAX = 24
#: Conflicts of the solver between looks at the budget.
CONFLICTS_PER_LOOK = 2000
#: Choices turned into edges between looks at the budget.
CHOICES_PER_LOOK = 64
#: Solver rounds between looks at the budget.
CYCLES_PER_ROUND = 64


class Decision(msgspec.Struct, frozen=True):
    """Whether an order exists, or why that is open.

    Args:
        answer: whether there is one, or the reason why that is open.
        cycle: of a refutation, the forced cycle if there is one.
        points: the order.
        core: of a refutation, transactions that have no order either, if they are known.
    """

    answer: bool | str
    cycle: list[Order] = []
    points: Points = []
    core: list[Txn] = []


def solve(graph: Polygraph, meter: Meter) -> bool | str | None:
    """Whether some choice of writers' orders has no cycle; or why that was not decided.

    None where no solver is installed.
    """
    try:
        from pysat.solvers import Glucose4
    except ImportError:
        return None
    known = graph.orders()
    edges: list[Order] = []
    for number, (a, b) in enumerate(graph.choices(meter), 1):
        edges += graph.implied(a, b, number) + graph.implied(b, a, -number)
        if number % CHOICES_PER_LOOK == 0 and meter.spent(1):
            break
    with Glucose4() as solver:
        while not meter.spent(len(known) + len(edges)):
            solver.conf_budget(CONFLICTS_PER_LOOK)
            found = solver.solve_limited()
            if found is None:
                continue
            if not found:
                return False
            chosen = {literal for literal in solver.get_model() or [] if literal}
            active = [e for e in edges if e.var in chosen or (e.var and -e.var not in chosen)]
            cut: frozenset[int] = frozenset()
            for _ in range(CYCLES_PER_ROUND):
                cycle = find_cycle(
                    [*known, *active], snapshot=graph.snapshot, avoid=cut, meter=meter
                )
                if cycle is None or meter.spent():
                    break
                variables = {edge.var for edge in cycle if edge.var}
                solver.add_clause([-variable for variable in sorted(variables)])
                cut |= {min(variables)} if variables else frozenset()
                if not variables:
                    return False
            if not cut and not meter.spent():
                graph.known.update({(e.source, e.target, e.kind): e.why for e in active})
                return True
    return meter.reason


def _minimal(txns: list[Txn], found: Decision, snapshot: bool, meter: Meter) -> list[Txn]:
    """Fewest transactions that have no order: dropping any one of them leaves some that have.

    Begins with the core of the refutation, or what surrounds the forced cycle, and drops ever
    smaller chunks. A part of something that has an order has one too, so one pass at each size is
    enough.
    """
    current = _around(txns, found.cycle, snapshot, meter) if found.cycle else txns
    while found.answer is False and 0 < len(found.core) < len(current) and not meter.spent(1):
        core = part_of(txns, {txn.id for txn in found.core})
        found = decide(core, snapshot, meter)
        current = core if found.answer is False else current
    size = max(1, len(current) // 2)
    while True:
        low = 0
        while low < len(current):
            if meter.spent(1):
                return current
            rest = part_of(txns, {t.id for t in current[:low] + current[low + size :]})
            if rest and decide(rest, snapshot, meter).answer is False:
                current = rest
            else:
                low += size
        if size == 1:
            return current
        size = max(1, size // 2)


def _around(txns: list[Txn], cycle: list[Order], snapshot: bool, meter: Meter) -> list[Txn]:
    """The transactions of a cycle, then their neighbours by reads, until they have no order."""
    inside = {edge.source for edge in cycle}
    while len(inside) < len(txns) and not meter.spent(1):
        part = part_of(txns, inside)
        if decide(part, snapshot, meter).answer is False:
            return part
        near = {source for txn in part for source in txn.reads.values()}
        near |= {txn.id for txn in txns if inside & set(txn.reads.values())}
        if near <= inside | {-1}:
            break
        inside |= near
    return txns


def decide(part: list[Txn], snapshot: bool, meter: Meter) -> Decision:
    """Whether an order of these transactions alone exists.

    Args:
        part: transactions which read from each other only.
        snapshot: for snapshot isolation, else serializability.
        meter: the budget.
    """
    if len(part) > MIDDLE_MAX or (len(part) > SMALL_MAX and jit.at_hand("saturation")):
        return _decide_many(part, snapshot, meter)
    if len(part) > SMALL_MAX:
        found = _decide_few(part, snapshot, Meter(meter.left(UNCOMPILED_SHARE)))
        undecided = isinstance(found.answer, str) and not meter.spent()
        return _decide_many(part, snapshot, meter) if undecided else found
    return _decide_few(part, snapshot, meter)


def _decide_few(part: list[Txn], snapshot: bool, meter: Meter) -> Decision:
    """The same without machine code, where a solver is installed."""
    found = guided_search(part, meter)
    if isinstance(found, list):
        return Decision(True, points=_serial_points(found, snapshot))
    graph = Polygraph(part, snapshot=snapshot)
    cycle = graph.saturate(meter)
    if cycle is not None:
        return Decision(False, cycle)
    if meter.spent():
        return Decision(meter.reason)
    if len(part) <= TINY_MAX or (not snapshot and len({txn.session for txn in part}) <= 4):
        points = _exhaustive(part, snapshot, meter)
        if not isinstance(points, str):
            return Decision(points is not None, points=points or [])
    answer = solve(graph, meter)
    if answer is None:
        return _decide_many(part, snapshot, meter)
    if answer is not True:
        return Decision(answer)
    if snapshot:
        return Decision(True, points=points_of(graph))
    return Decision(True, points=_serial_points(_serial_order(graph), snapshot))


def _exhaustive(part: list[Txn], snapshot: bool, meter: Meter) -> Points | str | None:
    """An order, None if there is none, or why the search was given up."""
    if snapshot:
        return search_points(part, meter)
    order = frontier_search(part, meter)
    return _serial_points(order, snapshot) if isinstance(order, list) else order


def _decide_many(part: list[Txn], snapshot: bool, meter: Meter) -> Decision:
    """The same by the compiled search."""
    if snapshot:
        serial = search_order(part, snapshot=False, meter=meter, conflicts_max=SERIAL_CONFLICTS_MAX)
        if serial.answer:
            return Decision(True, points=_serial_points([txn for txn, _ in serial.order], True))
    found = search_order(part, snapshot=snapshot, meter=meter)
    if found.answer is None:
        return Decision(found.reason)
    return Decision(found.answer, points=found.order, core=found.core)


def _serial_points(order: list[Txn], snapshot: bool) -> Points:
    """The points of transactions one after another."""
    points = (START, COMMIT) if snapshot else (COMMIT,)
    return [(txn, point) for txn in order for point in points]


def _serial_order(graph: Polygraph) -> list[Txn]:
    out: dict[int, set[int]] = {txn: set() for txn in graph.txns}
    for source, target, _ in graph.known:
        out[source].add(target)
    return [graph.txns[txn] for txn in reversed(postorder(out))]


def check_serial(
    history: History, level: str, *, init: object = None, budget: Budget | None = None
) -> Result:
    """Judge a read-write history whose version order is unknown.

    Args:
        history: transactions of reads and writes, values unique per key; sessions are processes.
        level: ``serializable`` or ``snapshot-isolation``.
        init: the value of keys before any write; or a dict of keys to theirs.
        budget: wall clock and memory; a search that spends it is UNKNOWN.
    """
    meter = Meter(budget)
    txns = columns(history, writes=REGISTER_WRITES, model=level)
    register = RwRegister(txns, rules=VersionRules(initial=init))
    register.check_values()
    local = [a for a in register.anomalies if a.name != "lost-update"]
    findings = [anomaly_finding(anomaly, txns) for anomaly in local]
    result = Result(
        checker=level, verdict=Verdict.VALID, findings=findings, engine="polygraph",
        stats={"transactions": len(txns), "committed": int((txns.type != FAIL).sum())},
        budget=meter.budget.as_dict(),
    )  # fmt: skip
    if findings:
        result.verdict, result.reason = Verdict.INVALID, findings[0].title
    elif register.unclear:
        result.verdict, result.reason = Verdict.UNKNOWN, "; ".join(register.unclear)
    elif not (txns.type == OK).any() or not len(txns.mop_txn):
        result.verdict, result.reason = Verdict.UNKNOWN, "no transaction read or wrote anything"
    else:
        _search(result, register, level, meter)
    result.elapsed_s = round(meter.elapsed_s, 6)
    return result


def _search(result: Result, register: RwRegister, level: str, meter: Meter) -> None:
    """Decide, and fill in verdict, reason and witness."""
    members = transactions(register, missed=missed_reads(register, meter))
    snapshot = level == "snapshot-isolation"
    found = decide(members, snapshot, meter)
    if isinstance(found.answer, str):
        result.verdict, result.reason = Verdict.UNKNOWN, found.answer
    elif found.answer:
        _valid(result, register, level, members, found.points)
        wrong = _unmatched(register, found.points, meter, snapshot=snapshot)
        if wrong:
            result.verdict = Verdict.UNKNOWN
            result.reason = f"{PREDICATES_UNSEEN}: {wrong}"
    else:
        refuted = refutation(
            register.txns, level, members, found, meter, init=register.order.rules.initial
        )
        if isinstance(refuted, str):
            result.verdict, result.reason = Verdict.UNKNOWN, refuted
            return
        result.verdict = Verdict.INVALID
        result.findings = [refuted]
        result.reason = result.findings[0].title


def refutation(
    txns: Txns,
    level: str,
    members: list[Txn],
    found: Decision,
    meter: Meter,
    *,
    promise: str = "process",
    init: object = None,
) -> Finding | str:
    """The fewest transactions that have no order, looked at again; or why it is open after all.

    Args:
        txns: the history.
        level: what is refuted.
        members: all transactions that committed.
        found: that they have no order.
        meter: the budget of making them fewer.
        promise: the order of transactions that the level promises.
        init: what keys held before any write.
    """
    snapshot = "snapshot" in level
    least = _minimal(members, found, snapshot, meter)
    if meter.spent() and len(least) > CONFIRMED_MAX:
        return (
            f"{meter.reason}: forced orders contradict each other among {len(least)} "
            "transactions, which were not reduced to few enough to confirm that"
        )
    cycle = decide(least, snapshot, Meter() if meter.spent() else meter).cycle
    finding = _finding(txns, level, least, cycle)
    doubt = _doubt(least, snapshot)
    return (
        doubt
        or confirm_no_order(finding, txns.history, level, promise=promise, init=init)
        or finding
    )


def _unmatched(register: RwRegister, points: Points, meter: Meter, *, snapshot: bool) -> str:
    """Why the predicate reads do not fit an order, or ""."""
    if not register.txns.predicates:
        return ""
    steps = ((txn.id, point == START or not snapshot, point == COMMIT) for txn, point in points)
    return why_unmatched(register, steps, meter)


def explained_serially(register: RwRegister, meter: Meter) -> str:
    """Whether a serial order explains every read, those of predicates too: "", or why that is open.

    For levels that allow whatever serializability allows.
    """
    members = transactions(register, missed=missed_reads(register, meter))
    found = decide(members, False, meter)
    if found.answer is not True:
        return "no serial order was found, which would have settled it"
    return _unmatched(register, found.points, meter, snapshot=False)


def _valid(
    result: Result, register: RwRegister, level: str, members: list[Txn], points: Points
) -> None:
    """Replay the order found, and tell it."""
    invoke = register.txns.invoke
    if level == "snapshot-isolation":
        wrong = verify_points(points)
        size = 2 * len(members)
        result.stats["points"] = [
            [("start", "commit")[point], int(invoke[txn.id])] for txn, point in points
        ]
    else:
        wrong = verify_serial_order([txn for txn, _ in points])
        size = len(members)
        result.stats["serial_order"] = [int(invoke[txn.id]) for txn, _ in points]
    if wrong or len(points) != size:
        raise AssertionError(f"the order found does not hold: {wrong}")
    result.reason = f"{len(members)} transactions have an order that {level} allows"


def _doubt(least: list[Txn], snapshot: bool) -> str:
    """Why a refutation is not believed: a search that tries every order finds one."""
    meter = Meter(Budget(time_s=2.0))
    found = search_points(least, meter) if snapshot else frontier_search(least, meter)
    if isinstance(found, list):
        return "two methods disagree whether the transactions have an order; please report this"
    return ""


def _finding(txns: Txns, level: str, least: list[Txn], cycle: list[Order]) -> Finding:
    """The refutation: the forced cycle, or the fewest transactions that have no order."""
    involved = [edge.source for edge in cycle] + [txn.id for txn in least]
    names = {txn: f"T{place + 1}" for place, txn in enumerate(dict.fromkeys(involved))}
    steps = tuple(_step(txns, edge, names) for edge in cycle)
    if cycle:
        sentence = " ".join(step.text for step in steps) + " That is a cycle."
    else:
        few = f" ({', '.join(names.values())})" if len(names) <= NAMES_MAX else ""
        sentence = (
            f"{len(names)} transactions{few} have no order that {level} "
            "allows, whichever way round each pair of writes is put."
        )
    return Finding(
        kind=f"not-{level}",
        title=f"not {level}: no order of the transactions explains what they read",
        sentence=sentence,
        ops=tuple(sorted({int(txns.invoke[txn]) for txn in names})),
        because=steps,
        breaks=level,
        detail={
            "transactions": [
                {"name": name, "invoke": int(txns.invoke[txn]), "ops": txns.describe(txn)}
                for txn, name in names.items()
            ]
        },
    )


def _step(txns: Txns, edge: Order, names: dict[int, str]) -> Because:
    source, target = names[edge.source], names[edge.target]
    kind, _, key_code = edge.why.partition(" ")
    key: object = txns.keys[int(key_code)] if key_code else None
    written = "its key" if key is None else f"key {key!r}"
    why = {
        "so": f"{source} precedes {target} in its session",
        "realtime": f"{source} completed before {target} was invoked",
        "wr": f"{target} read key {key!r} from {source}",
        "ww": f"{source} has to write {written} before {target} does",
        "rw": f"{source} read key {key!r} before {target} wrote it",
    }[kind]
    return Because(
        kind="process" if kind == "so" else kind,
        source=int(txns.invoke[edge.source]),
        target=int(txns.invoke[edge.target]),
        key=key,
        text=f"{source} < {target}, because {why}.",
    )

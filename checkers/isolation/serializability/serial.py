"""Serializability and snapshot isolation of read-write histories whose version order is unknown.

Deciding either is NP-complete: the order of the writes of each key has to be guessed. The search of
:mod:`checkers.isolation.serializability.saturation` derives what is forced and guesses the rest, in
turn. For snapshot isolation a serial order is looked for first: where there is one it is the easier
to find.

A refutation comes with the transactions that prove it, which are then reduced to the fewest. If
what is forced among those is a cycle already, the polygraph shows it.

For snapshot isolation an edge is a dependency or an anti-dependency, and only cycles without two
adjacent anti-dependencies count.

An order found is replayed by :func:`verify_serial_order` or :func:`verify_points`, which know
nothing of how it was found. A refutation is reduced to the fewest transactions that still have no
order (sound, since an order of the whole would give one of any part), and a search that shares
nothing with the polygraph tries every order of those.

Source: Biswas and Enea, OOPSLA 2019 (frontiers); Tan and others, *Cobra*, OSDI 2020, and Huang and
others, *PolySI*, VLDB 2023 (pruned polygraphs).
"""

from __future__ import annotations

import msgspec

from checkers.core.budget import Budget, Meter
from checkers.core.verdict import Because, Finding, Result, Verdict
from checkers.history import FAIL, OK, History
from checkers.isolation.explain import anomaly_finding
from checkers.isolation.inference.rw_register import RwRegister, VersionRules
from checkers.isolation.predicates.replay import missed_reads, why_unmatched
from checkers.isolation.recheck_orders import confirm_no_order
from checkers.isolation.serializability.polygraph import (
    Order,
    Polygraph,
    Txn,
    part_of,
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
    search_points,
    verify_points,
)
from checkers.isolation.transaction_table import PREDICATES_UNSEEN, REGISTER_WRITES, Txns, columns

#: Guesses turned round before snapshot isolation is no longer sought by way of a serial order.
SERIAL_CONFLICTS_MAX = 20
#: Transactions up to which every order is tried to confirm a refutation that was cut short.
CONFIRMED_MAX = 40
#: Transactions that a sentence names one by one.
NAMES_MAX = 24


class Decision(msgspec.Struct, frozen=True):
    """Whether an order exists, or why that is open.

    Args:
        answer: whether there is one, or the reason why that is open.
        points: the order.
        core: of a refutation, transactions that have no order either, if they are known.
    """

    answer: bool | str
    points: Points = []
    core: list[Txn] = []


def _minimal(txns: list[Txn], found: Decision, snapshot: bool, meter: Meter) -> list[Txn]:
    """Fewest transactions that have no order: dropping any one of them leaves some that have.

    Begins with the core of the refutation, and drops ever smaller chunks. A part of something that
    has an order has one too, so one pass at each size is enough.
    """
    current = txns
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


def decide(part: list[Txn], snapshot: bool, meter: Meter) -> Decision:
    """Whether an order of these transactions alone exists.

    Args:
        part: transactions which read from each other only.
        snapshot: for snapshot isolation, else serializability.
        meter: the budget.
    """
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


def check_serial(
    history: History, level: str, *, init: object = None, budget: Budget | None = None
) -> Result:
    """Check a read-write history whose version order is unknown.

    Args:
        history: transactions of reads and writes, values unique per key; sessions are processes.
        level: ``serializable`` or ``snapshot-isolation``.
        init: the value of keys before any write; or a dict of keys to theirs.
        budget: wall clock and memory; a search that exhausts it is UNKNOWN.
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
    graph = Polygraph(least, snapshot=snapshot)
    cycle = graph.saturate(Meter() if meter.spent() else meter) or []
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

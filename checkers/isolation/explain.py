"""From cycles to words: each edge as data, as a sentence, and with the proof of its inference.

A cycle is explained as in Elle. The transactions are named T1, T2, ... in the order of the cycle.
Each edge gets one sentence, "T1 < T2, because T2 observed T1's append of 3 to key 'x'"; the last
one leads back to T1. A ww or rw edge is inferred, so it carries its proof: the read that fixed
the order of the versions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from checkers.core.verdict import Because, Finding
from checkers.isolation.consistency import (
    implied_anomalies,
    strongest_standing,
    weakest_refuted,
)
from checkers.isolation.graph.cycles import Cycle, Edge
from checkers.isolation.graph.dependency_graph import KIND_NAMES, PROCESS, REALTIME, RW, WR, WW
from checkers.isolation.transaction_table import Txns

#: class -> what it means, in a few words
MEANING = {
    "G0": "write cycle: transactions' writes interleave",
    "G1a": "aborted read: a failed transaction's write was seen",
    "G1b": "intermediate read: a state inside a transaction was seen",
    "G1c": "circular information flow: transactions saw each other's writes in a circle",
    "G-single": "read skew over a predicate: some of a transaction was seen, a key of it was not",
    "G-single-item": "read skew",
    "G-nonadjacent": "missed writes and phantoms that no snapshots explain, no two in a row",
    "G2": "phantom: a predicate read missed what another transaction made match, in a circle",
    "predicate-mismatch": "a predicate read returned what does not match",
    "G-nonadjacent-item": "missed writes that no snapshots explain, no two in a row",
    "G2-item": "write skew: anti-dependency cycle",
    "lost-update": "two transactions replaced the same version",
    "dirty-update": "a write on top of an aborted one",
    "internal": "a transaction disagrees with itself",
    "future-read": "a transaction read its own future",
    "duplicate-elements": "a value twice in a list",
    "incompatible-order": "two reads that no single order of writes allows",
    "cyclic-versions": "versions of a key that each come before the next, in a circle",
    "garbage-read": "a read of a value that no transaction wrote",
}
#: Steps of a cycle whose sentences are printed; all of them are in its data.
TEXTS_MAX = 24

SUFFIX = {
    "-process": ", using the order of a session",
    "-realtime": ", using real time",
}


class Evidence(Protocol):
    """The explanations that an inference has for its edges."""

    txns: Txns

    def edge_words(self, edge: Edge) -> tuple[object, str, tuple[Because, ...]]:
        """The value that proves a data edge, the reason with {0} and {1}, and its proof."""
        ...

    def key_name(self, edge: Edge) -> object:
        """The key a data edge is about."""
        ...


def meaning(anomaly: str) -> str:
    """Plain words for an anomaly's name, variants included."""
    for suffix, words in SUFFIX.items():
        if anomaly.endswith(suffix):
            return MEANING.get(anomaly.removesuffix(suffix), anomaly) + words
    return MEANING.get(anomaly, anomaly)


def title(anomaly: str) -> str:
    """The finding's title: name, meaning, weakest model broken and strongest still standing."""
    broken = weakest_refuted(implied_anomalies(anomaly))
    standing = strongest_standing(implied_anomalies(anomaly))
    parts = [f"{anomaly}, {meaning(anomaly)}"]
    if broken:
        parts.append(f"breaks {' and '.join(broken)}")
    if standing:
        parts.append(f"{' and '.join(standing[:2])} not refuted by it")
    return "; ".join(parts)


def cycle_finding(cycle: Cycle, evidence: Evidence) -> Finding:
    """A cycle as a finding: ``because`` has one step per edge, in cycle order."""
    txns = evidence.txns
    order = [edge.source for edge in cycle.edges]
    names = {txn: f"T{place + 1}" for place, txn in enumerate(order)}
    steps = tuple(_step(edge, names, evidence) for edge in cycle.edges)
    first = names[order[0]]
    sentence = _joined([step.text for step in steps]) + (
        f" So {first} would have to come before itself: a contradiction."
    )
    return Finding(
        kind=cycle.anomaly,
        title=title(cycle.anomaly),
        sentence=sentence,
        key=next((evidence.key_name(e) for e in cycle.edges if e.key >= 0), None),
        ops=tuple(sorted({int(txns.invoke[txn]) for txn in order})),
        because=steps,
        breaks=_breaks(cycle.anomaly),
        detail={
            "transactions": [
                {"name": names[txn], "invoke": int(txns.invoke[txn]), "ops": txns.describe(txn)}
                for txn in order
            ],
            "cycle": [KIND_NAMES[edge.kind] for edge in cycle.edges],
        },
    )


def _joined(texts: list[str]) -> str:
    """The steps one after another; of very many, the first and the last."""
    left = len(texts) - TEXTS_MAX
    if left <= 0:
        return " ".join(texts)
    return " ".join([*texts[: TEXTS_MAX - 4], f"... {left} more steps ...", *texts[-4:]])


def _breaks(anomaly: str) -> str | None:
    return next(iter(weakest_refuted(implied_anomalies(anomaly))), None)


def filled(words: str, source: str, target: str) -> str:
    """Words about two transactions with their names; keys among the words may have braces."""
    return words.replace("{0}", source).replace("{1}", target)


def _step(edge: Edge, names: dict[int, str], evidence: Evidence) -> Because:
    txns = evidence.txns
    source, target = names[edge.source], names[edge.target]
    value: object = None
    proof: tuple[Because, ...] = ()
    if edge.kind == PROCESS:
        process = txns.history.processes[txns.process[edge.source]]
        why = f"process {process} executed {source} before {target}"
    elif edge.kind == REALTIME:
        ended, began = _apart(txns, int(txns.complete[edge.source]), int(txns.invoke[edge.target]))
        why = f"{source} completed{ended} before {target} was invoked{began}"
    else:
        value, words, proof = evidence.edge_words(edge)
        why = filled(words, source, target)
    return Because(
        kind=KIND_NAMES[edge.kind],
        source=int(txns.invoke[edge.source]),
        target=int(txns.invoke[edge.target]),
        key=evidence.key_name(edge) if edge.key >= 0 else None,
        value=value,
        text=f"{source} < {target}, because {why}.",
        proof=proof,
    )


def _apart(txns: Txns, earlier: int, later: int) -> tuple[str, str]:
    """When two events were, in as many digits as tell the one from the other."""
    said = ("", "")
    for digits in (3, 6, 9):
        said = (_when(txns, earlier, digits), _when(txns, later, digits))
        if said[0] != said[1]:
            break
    return said


def _when(txns: Txns, index: int, digits: int) -> str:
    time_ns = int(txns.history.time_ns[index])
    return f" (t={time_ns / 1e9:.{digits}f} s)" if time_ns >= 0 else f" (event {index})"


class Anomaly:
    """One non-cyclic anomaly: its name, the transactions concerned, and the facts.

    Args:
        name: its name in the field: ``G1a``, ``internal`` ...
        txns: transactions concerned, in the order of the sentence.
        key: the key.
        sentence: what happened; ``{0}``, ``{1}`` stand for the transactions' names.
        steps: the explanation step by step, if the sentence alone is not all of it.
        facts: JSON-ready details.
    """

    def __init__(
        self,
        name: str,
        txns: Sequence[int],
        key: object,
        sentence: str,
        *,
        steps: tuple[Because, ...] = (),
        **facts: object,
    ) -> None:
        self.name = name
        self.txns = tuple(txns)
        self.key = key
        self.sentence = sentence
        self.steps = steps
        self.facts = facts


def anomaly_finding(anomaly: Anomaly, txns: Txns) -> Finding:
    """A non-cyclic anomaly as a finding."""
    names = [f"T{place + 1}" for place in range(len(anomaly.txns))]
    transactions = [
        {"name": name, "invoke": int(txns.invoke[txn]), "ops": txns.describe(txn)}
        for name, txn in zip(names, anomaly.txns)
    ]
    sentence = anomaly.sentence
    for place, name in enumerate(names):
        sentence = sentence.replace(f"{{{place}}}", name)
    invokes = tuple(int(txns.invoke[txn]) for txn in anomaly.txns)
    return Finding(
        kind=anomaly.name,
        title=title(anomaly.name),
        sentence=sentence,
        key=anomaly.key,
        ops=tuple(sorted(set(invokes))),
        because=anomaly.steps
        or (
            Because(
                kind=anomaly.name,
                source=invokes[0],
                target=invokes[-1],
                key=anomaly.key,
                text=sentence,
            ),
        ),
        breaks=_breaks(anomaly.name),
        detail={"transactions": transactions, **anomaly.facts},
    )


__all__ = ["RW", "WR", "WW", "Anomaly", "Evidence", "anomaly_finding", "cycle_finding", "title"]

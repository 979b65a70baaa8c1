"""The transactions of a finding as text: who T1 and T2 are, and the micro-operations that decide.

A transaction may have dozens of micro-operations of which one matters. So only those on the keys
of the explanation are shown, the others are counted, and of a long list that was read the part is
shown that the explanation is about.

For :mod:`reports.terminal` and ``harness check``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from checkers.core.verdict import Because, Finding
from checkers.history import Op
from reports.wording import READS, key_name, one_line, show

#: Elements of a list that are shown around the one concerned.
ELEMENTS_SHOWN = 4


def named_transactions(finding: Finding, ops: Sequence[Op]) -> list[str]:
    """A line for each transaction of a finding; empty if it is about none.

    Args:
        finding: of a transactional checker: its ``detail`` names the transactions.
        ops: the operations of its witness.
    """
    transactions = finding.detail.get("transactions")
    if not isinstance(transactions, (list, tuple)):
        return []
    processes = {op.invoke: op.process for op in ops}
    facts = list(_facts(finding.because))
    return [
        line
        for each in transactions
        if isinstance(each, dict) and (line := _line(each, processes, facts))
    ]


def names_of(finding: Finding) -> dict[int, str]:
    """Names of a finding's transactions by the index of their invocation."""
    transactions = finding.detail.get("transactions")
    listed = transactions if isinstance(transactions, (list, tuple)) else ()
    pairs = [(each.get("invoke"), each.get("name")) for each in listed if isinstance(each, dict)]
    return {at: name for at, name in pairs if isinstance(at, int) and isinstance(name, str)}


def proofs(finding: Finding) -> list[str]:
    """The proofs of the order of versions, one sentence each, with the event of the proof."""
    found: dict[str, None] = {}
    for step in finding.because:
        for proof in step.proof:
            if proof.text:
                event = f" (event {proof.source})" if proof.source >= 0 else ""
                found[f"{one_line(proof.text, limit=200)}{event}"] = None
    return list(found)


def _facts(steps: Sequence[Because]) -> Iterator[Because]:
    for step in steps:
        yield step
        yield from _facts(step.proof)


def _line(transaction: dict[str, Any], processes: dict[int, Any], facts: Sequence[Because]) -> str:
    micros = transaction.get("ops")
    if not isinstance(micros, (list, tuple)):
        return ""
    parts = [part for part in micros if isinstance(part, (list, tuple)) and len(part) == 3]
    keys = {repr(fact.key) for fact in facts if fact.key is not None}
    telling = [part for part in parts if repr(part[1]) in keys] or parts
    words = ", ".join(_micro(part, facts) for part in telling)
    left = len(parts) - len(telling)
    rest = f" (and {left} more)" if left else ""
    process = processes.get(transaction.get("invoke", -1))
    who = "" if process is None else f"process {one_line(process, limit=20)}: "
    return f"{one_line(transaction.get('name', '?'), limit=8)} = {who}{words}{rest}"


def _micro(part: Sequence[Any], facts: Sequence[Because]) -> str:
    """A micro-operation in a few words: ``append x 7``, ``r x -> [... 6 7]``."""
    f, key, value = part
    focus = [fact.value for fact in facts if repr(fact.key) == repr(key)]
    shown = _list(value, focus) if isinstance(value, (list, tuple)) else show(value, limit=40)
    arrow = "-> " if f in READS else ""
    return f"{one_line(f, limit=12)} {key_name(key)} {arrow}{shown}"


def _list(elements: Sequence[Any], focus: Sequence[Any]) -> str:
    """A list, or its end and what is around the elements that the explanation names."""
    if len(elements) <= 2 * ELEMENTS_SHOWN:
        return show(elements, limit=200)
    known = {repr(value) for value in focus}
    near = {at for at, element in enumerate(elements) if repr(element) in known}
    last = len(elements) - 1
    kept = {last - 1, last} | {at + d for at in near for d in (-1, 0, 1) if 0 <= at + d <= last}
    words, before = [], -1
    for at in sorted(kept)[-2 * ELEMENTS_SHOWN :]:
        words += ["..."] if at > before + 1 else []
        words.append(show(elements[at], limit=20))
        before = at
    return f"[{' '.join(words)}]"

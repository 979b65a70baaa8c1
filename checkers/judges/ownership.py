"""Ownership: at most one owner of a partition acts at a time, and an epoch that is over is over.

Vocabulary: ``act`` (output: ``{"partition": p, "epoch": e, "group": g, "count": n}``: the owner
that carried the act out, the epoch under which it took it, and which act on this key that was, from
1 on). Keys are in partitions; a key's partition may be moved, split and merged, and each such
change has a higher epoch than the one before.

- *one owner*: a partition at an epoch has one group, and so has a key;
- *epochs grow*: an act accepted at an epoch must not follow one accepted at a higher epoch that was
  over before it began, of one key or of one partition: the epoch is a fencing token;
- *acts are one sequence*: no two acts on a key have the same number, of two acts of which one was
  over before the other began the later has the larger number, and an act at a higher epoch has a
  larger number than any at a lower one. The number is part of what moves. So two owners that act at
  the same time count alike, or one counts on after the other has begun, even if all their acts
  overlap and no act is late.

An act of unknown outcome may leave out a number; nothing is concluded from it.

The epochs are judged as fencing tokens of locks are, the numbers as tokens of holders that have the
lock for a moment: see :mod:`checkers.judges.lock`.

Source: Joshi, "Fixed Partitions" and "Consistent Core"; the region epochs of TiKV; Kleppmann, How
to do distributed locking, 2016.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterable
from typing import Any, NamedTuple

from checkers.core.budget import Meter
from checkers.core.checker import Checker
from checkers.core.findings import Judgement, Row, as_number, at, make, refuse, rows, who
from checkers.core.verdict import Because, Finding
from checkers.history import OK, History
from checkers.history.columns import short
from checkers.judges.lock import Act, Hold, Words, stale_acts, token_findings

_ACTS = frozenset(("act",))
#: What an act's output has; ``epoch`` and ``count`` are numbers.
FIELDS = ("partition", "epoch", "group", "count")

_NUMBERS = Words(
    takes=frozenset(), leaves=frozenset(), acts=frozenset(), instants=_ACTS,
    took="acted", took_it="acted", left="ended", acted="acted", two="two owners", act="an act",
    token="number", tokens="the numbers of acts",
)  # fmt: skip
_EPOCHS = _NUMBERS._replace(token="epoch", tokens="epochs", fence="epoch")


class Owned(NamedTuple):
    """An act that was carried out, and by whom."""

    row: Row
    key: Hashable
    partition: Hashable
    group: Hashable
    epoch: int | float
    number: int | float


def ownership() -> Checker:
    """The checker ``ownership``."""

    def check_history(history: History, meter: Meter) -> Judgement:
        acts = [_owned(history, row) for row in rows(history, meter) if _counts(row)]
        findings = _two_owners(history, acts)
        for _, same in _grouped((act.key, act) for act in acts):
            late = _epochs(history, same) + _sequence(history, same)
            findings += _explained(late or _went_on(history, same), acts)
        told = {finding.ops for finding in findings}
        for _, same in _grouped((act.partition, act) for act in acts):
            late = [each for each in _epochs(history, same) if each.ops not in told]
            findings += _explained(late, acts)
        owners = {(act.partition, act.epoch) for act in acts}
        changes = len(owners) - len({act.partition for act in acts})
        return Judgement(
            findings=findings,
            checked=max(0, len(acts) - 1),
            evidence=f"{len(acts)} acts of {len(owners)} owners, one at a time for each partition; "
            f"ownership changed {changes} times between them",
            missing="fewer than two acts were observed, so no two owners could be compared",
            stats={"acts": len(acts), "owners": len(owners), "changes": changes},
        )

    return make("ownership", check_history, vocabulary=_ACTS, keyed=False, trivial=("act",))


def _counts(row: Row) -> bool:
    return row.f in _ACTS and row.outcome == OK


def _owned(history: History, row: Row) -> Owned:
    """An act with its owner.

    Raises:
        HistoryError: the output does not say who it was.
    """
    said: Any = row.output
    if not isinstance(said, dict) or any(said.get(name) is None for name in FIELDS):
        what = f"an act must say {', '.join(FIELDS)}, not {short(said)}"
        raise refuse(history, row.complete, what)
    for name in ("partition", "group"):
        if not isinstance(said[name], (str, int)):
            raise refuse(history, row.complete, f"the {name} is {short(said[name])}: no name")
    epoch = as_number(history, row.complete, said["epoch"], "an epoch")
    count = as_number(history, row.complete, said["count"], "the number of an act")
    code = int(history.key[row.invoke])
    key = history.keys[code] if code >= 0 else None
    return Owned(row, key, said["partition"], said["group"], epoch, count)


def _grouped(pairs: Iterable[tuple[Hashable, Owned]]) -> list[tuple[Hashable, list[Owned]]]:
    found: dict[Hashable, list[Owned]] = {}
    for name, act in pairs:
        found.setdefault(name, []).append(act)
    return list(found.items())


# -- one owner -------------------------------------------------------------------------------------


def _two_owners(history: History, acts: list[Owned]) -> list[Finding]:
    """Another group at an epoch of a partition, or of a key, than the first one seen."""
    findings: list[Finding] = []
    first: dict[tuple[str, Hashable, float], Owned] = {}
    seen: set[tuple[Hashable, float, Hashable, Hashable]] = set()
    for act in acts:
        for kind, name in (("partition", act.partition), ("key", act.key)):
            one = first.setdefault((kind, name, act.epoch), act)
            pair = (act.partition, act.epoch, one.group, act.group)
            if one.group != act.group and pair not in seen:
                seen.add(pair)
                findings.append(_both(history, one, act, f"{kind} {name}"))
    return findings


def _both(history: History, one: Owned, other: Owned, what: str) -> Finding:
    overlap = one.row.invoke < other.row.complete and other.row.invoke < one.row.complete
    how = ", while that was under way" if overlap else ""
    return Finding(
        kind="two-owners",
        title="two owners of one partition at one epoch",
        sentence=f"Group {one.group} acted for {what} at epoch {one.epoch} for "
        f"{who(history, one.row.invoke)} at {at(history, one.row.complete)}, and group "
        f"{other.group} acted for it at the same epoch for {who(history, other.row.invoke)} at "
        f"{at(history, other.row.complete)}{how}.",
        ops=tuple(sorted((one.row.invoke, other.row.invoke))),
        key=other.key,
        because=(
            Because("owns", source=one.row.invoke, text=_owner(one)),
            Because("owns", source=other.row.invoke, text=_owner(other)),
        ),
        detail={"epoch": one.epoch, "owners": [_owner(one), _owner(other)]},
    )


# -- epochs and numbers ----------------------------------------------------------------------------


def _epochs(history: History, acts: list[Owned]) -> list[Finding]:
    """Acts at an epoch that was over when they began."""
    return stale_acts(history, [Act(act.row, act.epoch) for act in acts], _EPOCHS)


def _sequence(history: History, acts: list[Owned]) -> list[Finding]:
    """Numbers given twice, or that do not grow from one act to the next."""
    holds = [
        Hold(each.row.invoke, each.row.complete, each.number, each.row.complete, each.row.process)
        for each in acts
    ]
    return token_findings(history, holds, _NUMBERS)


def _went_on(history: History, acts: list[Owned]) -> list[Finding]:
    """The last act of an epoch with a larger number than the first act of a later one."""
    findings = []
    by_epoch = itertools.groupby(sorted(acts, key=lambda act: act.epoch), lambda act: act.epoch)
    largest: Owned | None = None
    for _, some in by_epoch:
        same = sorted(some, key=lambda act: act.number)
        if largest is not None and same[0].number < largest.number:
            findings.append(_behind(history, largest, same[0]))
        if largest is None or same[-1].number > largest.number:
            largest = same[-1]
    return findings


def _behind(history: History, old: Owned, new: Owned) -> Finding:
    return Finding(
        kind="owner-went-on",
        title="an owner acted after the next one had begun",
        sentence=f"{who(history, new.row.invoke).capitalize()} acted at epoch {new.epoch} with "
        f"number {new.number}, and {who(history, old.row.invoke)} at the epoch {old.epoch} before "
        f"it with the larger number {old.number}.",
        ops=tuple(sorted((old.row.invoke, new.row.invoke))),
        because=(Because("owns", source=old.row.invoke, target=new.row.invoke, value=old.number),),
        detail={"tokens": [old.number, new.number]},
    )


def _explained(findings: list[Finding], acts: list[Owned]) -> list[Finding]:
    """The same findings, with the key and the owners of both acts."""
    by_invoke = {act.row.invoke: act for act in acts}
    for finding in findings:
        both = [by_invoke[op] for op in finding.ops]
        owners = [_owner(act) for act in both]
        finding.key = both[-1].key
        same = owners[0] == owners[-1]
        named = (
            f"owner was {owners[0]} both times" if same else "owners were " + " and ".join(owners)
        )
        finding.sentence += f" The {named}."
        finding.detail = {**(finding.detail or {}), "owners": owners}
    return findings


def _owner(act: Owned) -> str:
    return f"{act.group} (of {act.partition}, epoch {act.epoch})"

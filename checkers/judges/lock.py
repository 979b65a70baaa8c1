"""Locks with fencing tokens: one holder at a time, and stale holders kept out.

Vocabulary: ``acquire`` (output: the fencing token, a number or ``{"token": n}``; None for a lock
without tokens), ``release`` (input: the token, or None), ``write`` (input: ``{"token": n, ...}``:
a write to a resource which must refuse tokens older than the newest it has seen; ok if accepted),
``act`` (output: ``{"token": n, ...}``: what the one who may act has done, under a token of its own;
it has the lock for that moment only). With keys, every key is a lock of its own.

- *mutual exclusion*: a process definitely holds the lock from the completion of its acquire to the
  invocation of its release; no two such intervals may overlap. An acquire of unknown outcome is no
  definite hold. A lock that expires by itself is a lease: see `lease`;
- *tokens grow*: of two acquires, one over before the other began, the later has the larger token,
  and no two have the same;
- *fencing*: a write accepted with a token must not follow one accepted with a larger token that was
  over before it began.

With ``exclusive=False`` only tokens and fencing are checked, which is what saves a lock whose
holders may be paused past its expiry: see Kleppmann, How to do distributed locking, 2016. With
``expires=True`` a finding of two holders says so.

Elections and owners of partitions are checked by the same rules in other words:
:mod:`checkers.judges.election`, :mod:`checkers.judges.ownership`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from checkers.core.budget import Meter
from checkers.core.checker import Checker
from checkers.core.findings import Judgement, Row, as_number, at, make, refuse, rows, who
from checkers.core.verdict import Because, Finding
from checkers.history import FAIL, INFO, OK, History
from checkers.history.columns import short


class Words(NamedTuple):
    """How operations are called, and what sentences call them.

    Args:
        takes, leaves, acts: names of operations.
        instants: operations that hold for their own moment only (output: the token).
        took, took_it, left, acted: verbs in the past, the second of one who was mentioned:
            ``acquired the lock``, ``acquired it``, ``released it``, ``wrote``.
        two: the title of two at once.
        act: what an act is called.
        token, tokens, fence: what a fencing token is called: in a sentence, all of them, and in
            full.
    """

    takes: frozenset[str]
    leaves: frozenset[str]
    acts: frozenset[str]
    took: str
    took_it: str
    left: str
    acted: str
    two: str
    act: str
    instants: frozenset[str] = frozenset()
    token: str = "token"
    tokens: str = "fencing tokens"
    fence: str = "fencing token"


LOCK = Words(
    takes=frozenset(("acquire", "lock")),
    leaves=frozenset(("release", "unlock")),
    acts=frozenset(("write", "fenced-write")),
    took="acquired the lock",
    took_it="acquired it",
    left="released it",
    acted="wrote",
    two="two holders of one lock",
    act="a write",
    instants=frozenset(("act",)),
)

#: Why two hold what expires, and what helps.
EXPIRES = (
    "A lease alone gives no mutual exclusion: a holder that is stopped or cut off for longer than "
    "its lease lives goes on as if it held it, and another holds it by then. Looking at the clock "
    "before each act does not help, for the stop may come in between. A fencing token does: the "
    "resource refuses one older than the newest it has seen (--workload-option fencing=true)."
)


@dataclass
class Hold:
    """One acquisition; event indices."""

    acquire: int
    acquired: int
    token: int | float | None
    until: int = -1  # invocation of the release; -1 if never released
    process: int = -1


class Act(NamedTuple):
    """An act that was accepted, under a token."""

    row: Row
    token: int | float


def lock(*, exclusive: bool = True, expires: bool = False) -> Checker:
    """The checker ``lock``.

    Args:
        exclusive: whether two processes must never hold the lock at once.
        expires: whether the lock is known to end by itself: a finding of two holders explains.
    """

    def check_history(history: History, meter: Meter) -> Judgement:
        holds, writes = gathered(history, meter, LOCK)
        tokens = [hold for hold in holds if hold.token is not None]
        findings = overlaps(history, holds, LOCK, EXPIRES if expires else "") if exclusive else []
        findings += token_findings(history, tokens, LOCK)
        findings += stale_acts(history, writes, LOCK)
        pairs = max(0, len(holds) - 1) + max(0, len(writes) - 1)
        return Judgement(
            findings=findings,
            checked=pairs,
            evidence=f"{len(holds)} holders of the lock excluded each other, with "
            f"{len(tokens)} tokens and {len(writes)} fenced writes"
            if exclusive
            else f"{len(tokens)} tokens and {len(writes)} fenced writes are in order",
            missing="the lock was not acquired twice, so nothing could be excluded",
            stats={"acquired": len(holds), "tokens": len(tokens), "writes": len(writes)},
        )

    return make(
        "lock",
        check_history,
        vocabulary=LOCK.takes | LOCK.leaves | LOCK.acts | LOCK.instants,
        trivial=("acquire", "release", "act"),
    )


def token_of(history: History, event: int, value: object) -> int | float | None:
    """The fencing token in a value: a number, or in a dict under ``token``; None if there is none.

    Raises:
        HistoryError: the token is no number.
    """
    if isinstance(value, dict):
        value = value.get("token")
    if value is None or isinstance(value, (bool, str)):
        return None
    return as_number(history, event, value, "a fencing token")


def gathered(history: History, meter: Meter, words: Words) -> tuple[list[Hold], list[Act]]:
    """The holds, and the acts that were accepted under a token.

    Raises:
        HistoryError: an act has no dict, or a token is no number.
    """
    holds: list[Hold] = []
    held: dict[int, Hold] = {}  # process -> what it holds
    acts: list[Act] = []
    for row in rows(history, meter):
        if row.f in words.takes | words.instants and row.outcome == OK:
            token = token_of(history, row.complete, row.output)
            hold = Hold(row.invoke, row.complete, token, process=row.process)
            holds.append(hold)
            if row.f in words.instants:
                hold.until = row.complete
            else:
                held[row.process] = hold
        elif row.f in words.leaves and row.process in held:
            # Even a release that failed was meant: from here on it is no definite hold.
            held.pop(row.process).until = row.invoke
        elif row.f in words.acts and row.outcome != FAIL:
            act = _act(history, row, words)
            if act is not None and row.outcome == OK:
                acts.append(act)
            elif row.outcome == INFO and row.process in held:
                # Its client gave up; from here on it is no definite hold.
                held.pop(row.process).until = row.invoke
    return holds, acts


def _act(history: History, row: Row, words: Words) -> Act | None:
    """The act with its token; None if it has none."""
    if not isinstance(row.input, dict):
        said = f'{words.act} must be {{"token": n, ...}}, not {short(row.input)}'
        raise refuse(history, row.invoke, said)
    token = token_of(history, row.invoke, row.input)
    return None if token is None else Act(row, token)


def overlaps(history: History, holds: list[Hold], words: Words, why: str) -> list[Finding]:
    """Holders at the same time; each is compared with the longest holder before it.

    Args:
        history: what the holds are of.
        holds: all of them.
        words: what they are called.
        why: how that can be, for a reader; "" to say nothing.
    """
    findings = []
    longest: Hold | None = None
    for hold in sorted(holds, key=lambda hold: hold.acquired):
        if longest is not None and (longest.until < 0 or longest.until > hold.acquired):
            findings.append(_both(history, longest, hold, words, why))
        if longest is None or (longest.until >= 0 and not 0 <= hold.until < longest.until):
            longest = hold
    return findings


def _both(history: History, one: Hold, other: Hold, words: Words, why: str) -> Finding:
    left = words.left
    ends = f"never {left}" if one.until < 0 else f"{left} only at {at(history, one.until)}"
    ops = [one.acquire, other.acquire] + ([one.until] if one.until >= 0 else [])
    explained = (Because("explained", text=why),) if why else ()
    return Finding(
        kind="two-holders",
        title=words.two,
        sentence=f"{who(history, one.acquire).capitalize()} {words.took} at "
        f"{at(history, one.acquired)} and {ends}, and {who(history, other.acquire)} "
        f"{words.took_it} at {at(history, other.acquired)}.",
        ops=tuple(sorted(ops)),
        because=(
            Because("holds", source=one.acquire, text="definitely holds it"),
            Because("holds", source=other.acquire, text="definitely holds it too"),
            *explained,
        ),
        detail={"tokens": [one.token, other.token]},
    )


def token_findings(history: History, holds: list[Hold], words: Words) -> list[Finding]:
    """Tokens that do not grow from one acquisition to a later one, or are given twice."""
    findings = []
    given: dict[int | float, Hold] = {}
    finished = sorted(holds, key=lambda hold: hold.acquired)
    done = 0
    largest: Hold | None = None
    for hold in holds:  # in order of invocation
        assert hold.token is not None
        while done < len(finished) and finished[done].acquired < hold.acquire:
            token = finished[done].token
            if largest is None or (token or 0) > (largest.token or 0):
                largest = finished[done]
            done += 1
        same = given.setdefault(hold.token, hold)
        if same is not hold:
            findings.append(_token_finding(history, (same, hold), "duplicate-token", words))
        elif largest is not None and hold.token < (largest.token or 0):
            findings.append(_token_finding(history, (largest, hold), "token-backwards", words))
    return findings


def _token_finding(history: History, holds: tuple[Hold, Hold], kind: str, words: Words) -> Finding:
    one, other = holds
    same = kind == "duplicate-token"
    how = f"the same {words.token}" if same else f"the smaller {words.token} {other.token}"
    instant = history.functions[int(history.f[one.acquire])] in words.instants
    did = "acted" if instant else words.took
    return Finding(
        kind=kind,
        title=f"{words.tokens} do not grow",
        sentence=f"{who(history, one.acquire).capitalize()} {did} with {words.token} "
        f"{one.token} at {at(history, one.acquired)}, and {who(history, other.acquire)} then with "
        f"{how} at {at(history, other.acquired)}.",
        ops=tuple(sorted((one.acquire, other.acquire))),
        because=(Because("realtime", source=one.acquire, target=other.acquire, value=one.token),),
        detail={"tokens": [one.token, other.token]},
    )


def stale_acts(history: History, acts: list[Act], words: Words) -> list[Finding]:
    """Acts accepted with a token older than one accepted before they began."""
    findings = []
    finished = sorted(acts, key=lambda act: act.row.complete)
    done = 0
    newest: Act | None = None
    for act in acts:  # in order of invocation
        while done < len(finished) and finished[done].row.complete < act.row.invoke:
            if newest is None or finished[done].token > newest.token:
                newest = finished[done]
            done += 1
        if newest is not None and act.token < newest.token:
            findings.append(_stale(history, newest, act, words))
    return findings


def _stale(history: History, newer: Act, stale: Act, words: Words) -> Finding:
    one, other = newer.row, stale.row
    return Finding(
        kind="stale-token-accepted",
        title=f"{words.act} with a stale {words.fence} was accepted",
        sentence=f"{who(history, other.invoke).capitalize()} {words.acted} with {words.token} "
        f"{stale.token} at {at(history, other.complete)} and it was accepted, although {words.act} "
        f"with {words.token} {newer.token} had been accepted at {at(history, one.complete)}.",
        ops=tuple(sorted((one.invoke, other.invoke))),
        because=(Because("realtime", source=one.invoke, target=other.invoke, value=newer.token),),
        detail={"tokens": [newer.token, stale.token]},
    )

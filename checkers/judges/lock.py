"""Locks with fencing tokens: one holder at a time, and stale holders kept out.

Vocabulary: ``acquire`` (output: the fencing token, a number or ``{"token": n}``; None for a lock
without tokens), ``release`` (input: the token, or None), ``write`` (input: ``{"token": n, ...}``:
a write to a resource which must refuse tokens older than the newest it has seen; ok if accepted),
``act`` (output: ``{"token": n, ...}``: what the one who may act has done, under a token of its own;
it has the lock for that moment only). With keys, every key is a lock of its own.

- *mutual exclusion*: a process certainly holds the lock from the completion of its acquire to the
  invocation of its release; no two such intervals may overlap. An acquire of unknown outcome holds
  nothing for certain. A lock that expires by itself is a lease: see `lease`;
- *tokens grow*: of two acquires, one over before the other began, the later has the larger token,
  and no two have the same;
- *fencing*: a write accepted with a token must not follow one accepted with a larger token that was
  over before it began.

With ``exclusive=False`` only tokens and fencing are judged, which is what saves a lock whose
holders may be paused past its expiry: see Kleppmann, How to do distributed locking, 2016.
"""

from __future__ import annotations

from dataclasses import dataclass

from checkers.core.budget import Meter
from checkers.core.checker import Checker
from checkers.core.findings import Judgement, Row, as_number, at, make, refuse, rows, who
from checkers.core.verdict import Because, Finding
from checkers.history import FAIL, OK, History
from checkers.history.columns import short

ACQUIRES = frozenset(("acquire", "lock"))
ACTS = frozenset(("act",))
RELEASES = frozenset(("release", "unlock"))
WRITES = frozenset(("write", "fenced-write"))


@dataclass
class Hold:
    """One acquisition; event indices."""

    acquire: int
    acquired: int
    token: int | float | None
    until: int = -1  # invocation of the release; -1 if never released


def lock(*, exclusive: bool = True) -> Checker:
    """The checker ``lock``.

    Args:
        exclusive: whether two processes must never hold the lock at once.
    """

    def judge(history: History, meter: Meter) -> Judgement:
        holds, writes = _gather(history, meter)
        tokens = [hold for hold in holds if hold.token is not None]
        findings = _overlaps(history, holds) if exclusive else []
        findings += _tokens(history, tokens)
        findings += _fencing(history, writes)
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
        judge,
        vocabulary=ACQUIRES | ACTS | RELEASES | WRITES,
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


def _gather(history: History, meter: Meter) -> tuple[list[Hold], list[tuple[Row, int | float]]]:
    holds: list[Hold] = []
    held: dict[int, Hold] = {}  # process -> what it holds
    writes: list[tuple[Row, int | float]] = []
    for row in rows(history, meter):
        if row.f in ACQUIRES | ACTS and row.outcome == OK:
            hold = Hold(row.invoke, row.complete, token_of(history, row.complete, row.output))
            holds.append(hold)
            if row.f in ACTS:
                hold.until = row.complete
            else:
                held[row.process] = hold
        elif row.f in RELEASES and row.process in held:
            # Even a release that failed was meant: from here on nothing is certain.
            held.pop(row.process).until = row.invoke
        elif row.f in WRITES and row.outcome != FAIL:
            if not isinstance(row.input, dict):
                said = f'a fenced write must be {{"token": n, ...}}, not {short(row.input)}'
                raise refuse(history, row.invoke, said)
            token = token_of(history, row.invoke, row.input)
            if token is not None and row.outcome == OK:
                writes.append((row, token))
    return holds, writes


def _overlaps(history: History, holds: list[Hold]) -> list[Finding]:
    """Holders at the same time; each is compared with the longest holder before it."""
    findings = []
    longest: Hold | None = None
    for hold in sorted(holds, key=lambda hold: hold.acquired):
        if longest is not None and (longest.until < 0 or longest.until > hold.acquired):
            findings.append(_both(history, longest, hold))
        if longest is None or (longest.until >= 0 and not 0 <= hold.until < longest.until):
            longest = hold
    return findings


def _both(history: History, one: Hold, other: Hold) -> Finding:
    ends = "never released it" if one.until < 0 else f"released it only at {at(history, one.until)}"
    ops = [one.acquire, other.acquire] + ([one.until] if one.until >= 0 else [])
    return Finding(
        kind="two-holders",
        title="two holders of one lock",
        sentence=f"{who(history, one.acquire).capitalize()} acquired the lock at "
        f"{at(history, one.acquired)} and {ends}, and {who(history, other.acquire)} acquired it at "
        f"{at(history, other.acquired)}.",
        ops=tuple(sorted(ops)),
        because=(
            Because("holds", source=one.acquire, text="certainly holds the lock"),
            Because("holds", source=other.acquire, text="certainly holds the lock too"),
        ),
        detail={"tokens": [one.token, other.token]},
    )


def _tokens(history: History, holds: list[Hold]) -> list[Finding]:
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
            findings.append(_token_finding(history, same, hold, "duplicate-token"))
        elif largest is not None and hold.token < (largest.token or 0):
            findings.append(_token_finding(history, largest, hold, "token-backwards"))
    return findings


def _token_finding(history: History, one: Hold, other: Hold, kind: str) -> Finding:
    how = "the same token" if kind == "duplicate-token" else f"the smaller token {other.token}"
    acts = history.functions[int(history.f[one.acquire])] in ACTS
    did = "acted" if acts else "acquired the lock"
    return Finding(
        kind=kind,
        title="fencing tokens do not grow",
        sentence=f"{who(history, one.acquire).capitalize()} {did} with token "
        f"{one.token} at {at(history, one.acquired)}, and {who(history, other.acquire)} then with "
        f"{how} at {at(history, other.acquired)}.",
        ops=tuple(sorted((one.acquire, other.acquire))),
        because=(Because("realtime", source=one.acquire, target=other.acquire, value=one.token),),
        detail={"tokens": [one.token, other.token]},
    )


def _fencing(history: History, writes: list[tuple[Row, int | float]]) -> list[Finding]:
    """Writes accepted with a token older than one accepted before they began."""
    findings = []
    finished = sorted(writes, key=lambda write: write[0].complete)
    done = 0
    largest: tuple[Row, int | float] | None = None
    for row, token in writes:  # in order of invocation
        while done < len(finished) and finished[done][0].complete < row.invoke:
            if largest is None or finished[done][1] > largest[1]:
                largest = finished[done]
            done += 1
        if largest is not None and token < largest[1]:
            findings.append(_unfenced(history, largest, (row, token)))
    return findings


def _unfenced(
    history: History, newer: tuple[Row, int | float], stale: tuple[Row, int | float]
) -> Finding:
    one, other = newer[0], stale[0]
    return Finding(
        kind="stale-token-accepted",
        title="a write with a stale fencing token was accepted",
        sentence=f"{who(history, other.invoke).capitalize()} wrote with token {stale[1]} at "
        f"{at(history, other.complete)} and it was accepted, although a write with token "
        f"{newer[1]} had been accepted at {at(history, one.complete)}.",
        ops=tuple(sorted((one.invoke, other.invoke))),
        because=(Because("realtime", source=one.invoke, target=other.invoke, value=newer[1]),),
        detail={"tokens": [newer[1], stale[1]]},
    )

"""Elections: terms grow, each has one leader, and what an earlier leader does is refused.

Vocabulary: ``campaign`` (output: the token of the leadership, its term: a number, or
``{"token": n}``), ``act`` (input: ``{"token": n, ...}``: something done at a resource which must
refuse tokens older than the newest it has seen; ok if accepted), ``resign``. With keys, every key
is an election of its own.

- *terms grow*: of two elections won, one over before the other began, the later has the larger
  token, and no two have the same: no term has two leaders;
- *one leader acts at a time*: an act accepted in a term must not follow one accepted in a later
  term that was over before it began;
- *leaders only*: an act is accepted in a term which its process has won, and not yet resigned.

With ``exclusive=True`` two processes must not lead at once either, from the completion of a
campaign to the invocation of the resignation. No election on leases can promise that when a leader
is stopped for longer than its lease lives: see :mod:`checkers.judges.lock`.
"""

from __future__ import annotations

from checkers.core.budget import Meter
from checkers.core.checker import Checker
from checkers.core.findings import Judgement, at, make, who
from checkers.core.verdict import Because, Finding
from checkers.history import History
from checkers.judges.lock import (
    EXPIRES,
    Act,
    Hold,
    Words,
    gathered,
    overlaps,
    stale_acts,
    token_findings,
)

ELECTION = Words(
    takes=frozenset(("campaign",)),
    leaves=frozenset(("resign",)),
    acts=frozenset(("act",)),
    took="was elected",
    took_it="was elected",
    left="resigned",
    acted="acted",
    two="two leaders at once",
    act="an act",
)


def election(*, exclusive: bool = False) -> Checker:
    """The checker ``election``.

    Args:
        exclusive: whether two processes must never lead at once; else only terms and acts count.
    """

    def check_history(history: History, meter: Meter) -> Judgement:
        terms, acts = gathered(history, meter, ELECTION)
        numbered = [term for term in terms if term.token is not None]
        findings = overlaps(history, terms, ELECTION, EXPIRES) if exclusive else []
        findings += token_findings(history, numbered, ELECTION)
        findings += stale_acts(history, acts, ELECTION)
        findings += _of_no_leader(history, terms, acts)
        return Judgement(
            findings=findings,
            checked=max(0, len(terms) - 1) + max(0, len(acts) - 1),
            evidence=f"{len(terms)} leaders one after the other, and {len(acts)} acts in the order "
            "of their terms",
            missing="fewer than two terms were observed, so no two leaders could be compared",
            stats={"elected": len(terms), "acts": len(acts)},
        )

    return make(
        "election",
        check_history,
        vocabulary=ELECTION.takes | ELECTION.leaves | ELECTION.acts,
        trivial=("campaign", "resign"),
    )


def _of_no_leader(history: History, terms: list[Hold], acts: list[Act]) -> list[Finding]:
    """Acts accepted in a term that their process has not won, or has resigned."""
    won = {(term.process, term.token): term for term in terms}
    found = []
    for act in acts:
        term = won.get((act.row.process, act.token))
        if term is None or act.row.invoke < term.acquired or 0 <= term.until < act.row.invoke:
            found.append(_usurped(history, act))
    return found


def _usurped(history: History, act: Act) -> Finding:
    invoke = act.row.invoke
    return Finding(
        kind="act-of-no-leader",
        title="an act of a process that did not lead was accepted",
        sentence=f"{who(history, invoke).capitalize()} acted with token {act.token} at "
        f"{at(history, act.row.complete)} and it was accepted, and it does not lead in that term.",
        ops=(invoke,),
        because=(Because("acts", source=invoke, text="acts in a term that is not its own"),),
        detail={"token": act.token},
    )

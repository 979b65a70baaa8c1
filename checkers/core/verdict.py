"""Verdicts and results: the outcome of a check, and how several outcomes merge into one.

A verdict has three values. VALID needs evidence, INVALID needs a witness, and UNKNOWN says why
nothing firmer could be said. Verdicts merge by a lattice in which a violation outranks doubt and
doubt outranks approval: INVALID > UNKNOWN > VALID. (Jepsen's test-all lets unknown outrank a
violation; a real bug then hides behind a slow checker.)

A :class:`Result` is the verdict of one checker with everything a reader needs to believe it. An
explanation is data first (:class:`Because`), a sentence second, a picture third; the data is what
is stored in ``results.json`` and what a report draws.

For every module; it imports nothing of ours.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec


class Verdict(enum.Enum):
    """The conclusion of a checker about a history."""

    VALID = "valid"
    UNKNOWN = "unknown"
    INVALID = "invalid"

    @property
    def exit_code(self) -> int:
        """The process exit code for this verdict: 0 valid, 1 invalid, 2 unknown."""
        return {"valid": 0, "invalid": 1, "unknown": 2}[self.value]

    def merge(self, other: Verdict) -> Verdict:
        """The worse of two verdicts: INVALID over UNKNOWN over VALID."""
        order = (Verdict.VALID, Verdict.UNKNOWN, Verdict.INVALID)
        return max(self, other, key=order.index)

    @staticmethod
    def merge_all(verdicts: Iterable[Verdict]) -> Verdict:
        """The worst verdict of many; with none there is no evidence, so UNKNOWN."""
        merged: Verdict | None = None
        for verdict in verdicts:
            merged = verdict if merged is None else merged.merge(verdict)
        return Verdict.UNKNOWN if merged is None else merged


class Because(msgspec.Struct, frozen=True, omit_defaults=True):
    """One step of an explanation, as data.

    Args:
        kind: why the step holds: ``ww wr rw realtime process`` between transactions; ``step`` for a
            model step that succeeded, ``stuck`` for one that could not; others as a checker says.
        source: history index of the operation's invocation the step starts from, or -1.
        target: history index of the operation's invocation the step leads to, or -1.
        key: the key concerned, if any.
        value: the value that proves the step, if any.
        state: the model's state after the step, as text, if any.
        text: the step as one plain sentence.
        proof: the steps this one was inferred from (which read fixed a version order, say).
    """

    kind: str
    source: int = -1
    target: int = -1
    key: Any = None
    value: Any = None
    state: str | None = None
    text: str = ""
    proof: tuple[Because, ...] = ()

    def moved(self, origin: Sequence[int]) -> Because:
        """The step with the indices of the whole history in place of those of a sub-history."""
        return msgspec.structs.replace(
            self,
            source=origin[self.source] if self.source >= 0 else -1,
            target=origin[self.target] if self.target >= 0 else -1,
            proof=tuple(step.moved(origin) for step in self.proof),
        )


class Finding(msgspec.Struct, omit_defaults=True):
    """One violation: a minimal witness and why it cannot be.

    Args:
        kind: the anomaly's name in the field: ``nonlinearizable G-single lost stale duplicate`` ...
        title: name and plain meaning in a few words.
        sentence: one plain sentence with key, values, processes and times.
        key: the key concerned, or None.
        ops: invocation indices of the operations of the minimal witness, in history order.
        because: the explanation, step by step.
        breaks: the weakest model this refutes, by its name in the field, if the checker has models.
        detail: what only this kind of finding has; documented by the checker that makes it.
    """

    kind: str
    title: str
    sentence: str
    key: Any = None
    ops: tuple[int, ...] = ()
    because: tuple[Because, ...] = ()
    breaks: str | None = None
    detail: dict[str, Any] = {}

    def moved(self, origin: Sequence[int]) -> Finding:
        """The finding with the indices of the whole history; see :meth:`Because.moved`."""
        return msgspec.structs.replace(
            self,
            ops=tuple(origin[index] for index in self.ops),
            because=tuple(step.moved(origin) for step in self.because),
            detail=_moved_detail(self.detail, origin),
        )


class Result(msgspec.Struct, omit_defaults=True):
    """The result of one checker for one history.

    Args:
        checker: the checker's name, as on the command line.
        verdict: VALID, INVALID or UNKNOWN.
        reason: for UNKNOWN, why; for the others one sentence of evidence.
        findings: the violations, most telling first; empty unless INVALID.
        engine: the algorithm that decided, where a checker has several.
        stats: counts and measures, JSON-ready.
        parts: results of the checkers this one is composed of.
        elapsed_s: wall-clock seconds spent checking.
        budget: what was allowed, JSON-ready; see :class:`checkers.core.budget.Budget`.
    """

    checker: str
    verdict: Verdict
    reason: str = ""
    findings: list[Finding] = []
    engine: str = ""
    stats: dict[str, Any] = {}
    parts: list[Result] = []
    elapsed_s: float = 0.0
    budget: dict[str, Any] = {}

    @property
    def valid(self) -> bool:
        """True only for VALID: neither a violation nor doubt."""
        return self.verdict is Verdict.VALID

    def moved(self, origin: Sequence[int]) -> Result:
        """The result with the indices of the whole history; see :meth:`Because.moved`."""
        return msgspec.structs.replace(
            self,
            findings=[finding.moved(origin) for finding in self.findings],
            parts=[part.moved(origin) for part in self.parts],
        )

    def all_findings(self) -> list[Finding]:
        """Own findings, then those of the parts, depth first."""
        found = list(self.findings)
        for part in self.parts:
            found.extend(part.all_findings())
        return found


def _moved_detail(detail: dict[str, Any], origin: Sequence[int]) -> dict[str, Any]:
    """A finding's detail with the original indices, where it has any."""
    changed = dict(detail)
    for name in ("window", "reads"):
        if name in detail:
            changed[name] = [origin[event] for event in detail[name]]
    if "transactions" in detail:
        transactions = detail["transactions"]
        changed["transactions"] = [
            {**each, "invoke": origin[each["invoke"]]} for each in transactions
        ]
    return changed

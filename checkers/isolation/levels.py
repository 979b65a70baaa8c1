"""Whether a level holds: decided where the cycles found do not decide it.

Where the order of all versions is known, every level that is defined by cycles is decided by them.
Where it is not, no cycle among what is known proves nothing: some order of the other versions has
to exist, too. So:

- *serializability* and *snapshot isolation*, plain, of sessions (strong session) and of real time
  (strict, strong), go to the search for an order
  (:mod:`checkers.isolation.serializability.serial`);
- *read atomic* and *causal* have axioms that ask for no order of versions
  (:mod:`checkers.isolation.weak_levels`);
- *read committed* needs none: orders that follow who read from whom always exist;
- any other level holds if one that implies it does. If none does, that is said, and the answer is
  open: to have found nothing is no proof.

Lists have known orders but for appends that no read shows. Without a cycle those can be put in
any order that agrees with the rest, so then the history is serializable.

Source: Adya, *Weak Consistency*, for levels as conditions on some order of versions.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from functools import cached_property

import msgspec

from checkers.core.budget import Meter
from checkers.core.verdict import Finding
from checkers.isolation.consistency import IMPLIES, forbidden_by, weaker_models
from checkers.isolation.inference.list_append import ListAppend
from checkers.isolation.inference.rw_register import RwRegister
from checkers.isolation.recheck_orders import Past, confirm_weak
from checkers.isolation.serializability.known_dependencies import dependencies, open_keys
from checkers.isolation.serializability.polygraph import Txn, placed
from checkers.isolation.serializability.serial import Decision, decide, refutation
from checkers.isolation.weak_levels import WeakOrder

#: level -> the order of transactions that it promises, of those decided by a search for an order
SEARCHED = {
    "repeatable-read": "",
    "serializable": "",
    "strong-session-serializable": "process",
    "strict-serializable": "realtime",
    "snapshot-isolation": "",
    "strong-session-snapshot-isolation": "process",
    "strong-snapshot-isolation": "realtime",
}
#: level -> the axiom, and whether sessions count, of those decided by an axiom
AXIOMS = {
    "read-atomic": ("read-atomic", False),
    "causal-cerone": ("causal", False),
    "transactional-causal": ("causal", True),
}
#: levels that the cycles decide, whatever is known of versions
ALWAYS_BY_CYCLES = ("read-uncommitted", "read-committed")
#: levels that the cycles decide where all orders of versions are known
BY_CYCLES = (*ALWAYS_BY_CYCLES, "consistent-view", *SEARCHED)
#: Keys that a sentence names one by one.
KEYS_NAMED_MAX = 8
#: Transactions up to which sessions of one transaction each are compared with one another.
ALONE_MAX = 3000


class Levels:
    """The levels of one history, decided when asked for.

    Args:
        inference: without a finding that refutes what is asked for.
        proved: the strongest level known to hold if the orders of all versions are, or "".
        sought: the anomalies that were sought in full.
        found: those of them that were found, which are none of what is asked for.
        meter: the budget.
    """

    def __init__(
        self,
        inference: ListAppend | RwRegister,
        *,
        proved: str,
        sought: Set[str],
        found: Set[str],
        meter: Meter,
    ) -> None:
        self.inference = inference
        self.sought, self.found = sought, found
        self.meter = meter
        self.findings: list[Finding] = []
        self.answers: dict[str, bool | str] = {}
        registers = isinstance(inference, RwRegister)
        known = bool(proved) and not (registers and self.open)
        self.proved = set(weaker_models(proved)) if known else set()
        self.searched = False
        self._found: dict[str, tuple[list[Txn], Decision]] = {}

    @cached_property
    def open(self) -> list[int]:
        """Codes of the keys whose order of versions is not known."""
        return open_keys(self.inference)

    def holds(self, model: str) -> bool | str:
        """Whether a level holds (its refutation is then in ``findings``), or why that is open."""
        if model in self.proved:
            return True
        if self.found & forbidden_by(model):
            return False
        if model not in self.answers:
            self.answers[model] = self._decided(model)
            if self.answers[model] is True:
                self.proved |= weaker_models(model)
        return self.answers[model]

    def _decided(self, model: str) -> bool | str:
        if model in ALWAYS_BY_CYCLES:
            return True
        if not self.open and model in BY_CYCLES and forbidden_by(model) <= self.sought:
            return True
        if model in SEARCHED:
            return self._searched(model)
        if model in AXIOMS:
            return self._by_axiom(model)
        return self._implied(model)

    def _implied(self, model: str) -> bool | str:
        """By a level that this one implies, or that implies this one."""
        known = {*SEARCHED, *AXIOMS} - {model}
        if any(self.holds(m) is False for m in known & weaker_models(model)):
            return False
        above = [m for m in IMPLIES if m in known and model in weaker_models(m)]
        above = [m for m in above if not (weaker_models(m) - {m}) & set(above)]
        found = len(self.findings)
        answers = {stronger: self.holds(stronger) for stronger in above}
        del self.findings[found:]  # what refutes a stronger level does not refute this one
        if True in answers.values():
            return True
        tried = ", ".join(above) or "no level"
        return (
            f"nothing that {model} forbids was found, but it is decided here only by a level that "
            f"implies it, and {tried} could not be shown to hold"
        )

    # -- by a search for an order ---------------------------------------------------------------

    def have_order(self, models: Sequence[str]) -> bool:
        """Whether levels have an order that half of the remaining budget finds.

        For then nothing else is to be done, and there is no better proof of a violation to look
        for. The other half is for that.
        """
        whole, left_s = self.meter, self.meter.remaining_s()
        half_s = None if left_s is None else left_s / 2
        self.meter = Meter(msgspec.structs.replace(whole.budget, time_s=half_s))
        found = all(
            m in self.proved or (m in SEARCHED and self._order_of(m)[1].answer is True)
            for m in models
        )
        self.meter = whole
        self._found = {m: f for m, f in self._found.items() if not isinstance(f[1].answer, str)}
        return found

    def _order_of(self, model: str) -> tuple[list[Txn], Decision]:
        """The transactions, and whether they have an order that a level allows."""
        if model not in self._found:
            self._found[model] = self._search(model)
        return self._found[model]

    def _search(self, model: str) -> tuple[list[Txn], Decision]:
        self.searched = True
        promise, txns = SEARCHED[model], self.inference.txns
        reads, writes, after, prior, _ = dependencies(self.inference)
        committed: list[Txn] = []
        found = Decision(False)
        for order in (promise,) if promise else ("process", promise):
            committed = placed(
                txns, self.inference.members, reads, writes,
                promise=order, after=after, prior=prior,
            )  # fmt: skip
            found = decide(committed, "snapshot" in model, self.meter)
            if found.answer is True:  # with sessions is more than was asked for
                break
        return committed, found

    def _searched(self, model: str) -> bool | str:
        committed, found = self._order_of(model)
        if found.answer is True:
            return True
        if found.answer is not False:
            return f"{found.answer}; {self._unknown_keys()}"
        init = initial_state(self.inference)
        refuted = refutation(
            self.inference.txns, model, committed, found, self.meter,
            promise=SEARCHED[model], init=init,
        )  # fmt: skip
        if isinstance(refuted, str):
            return refuted
        self.findings.append(refuted)
        return False

    def _unknown_keys(self) -> str:
        """Which keys leave it open."""
        keys = [repr(self.inference.txns.keys[key]) for key in self.open]
        more = f" and of {len(keys) - KEYS_NAMED_MAX} more" if len(keys) > KEYS_NAMED_MAX else ""
        named = ", ".join(keys[:KEYS_NAMED_MAX])
        return f"the order of the versions is not known of key{'s' * (len(keys) > 1)} {named}{more}"

    # -- by an axiom ----------------------------------------------------------------------------

    def _by_axiom(self, model: str) -> bool | str:
        axiom, sessions = AXIOMS[model]
        if not sessions and axiom == "causal" and int(self.inference.members.sum()) > ALONE_MAX:
            found = len(self.findings)
            if self.holds("transactional-causal") is True:
                return True
            del self.findings[found:]
            return f"more than {ALONE_MAX} transactions, and with sessions it does not hold"
        order = WeakOrder(self.inference, axiom, meter=self.meter, sessions=sessions)
        findings = order.forced_findings()
        if self.meter.spent():
            return self.meter.reason
        past = Past(self.inference.txns.history, sessions=sessions)
        for finding in findings:
            finding.breaks = model
            wrong = confirm_weak(
                finding, past.history, axiom, past=past, init=initial_state(self.inference)
            )
            if wrong:
                return (
                    f"a {finding.kind} was inferred but a second look did not confirm it ({wrong})"
                )
        self.findings += findings
        return not findings


def initial_state(inference: ListAppend | RwRegister) -> object:
    """The initial value of every key, or a dict of keys to initial values."""
    if isinstance(inference, ListAppend):
        return inference.init
    return inference.order.rules.initial

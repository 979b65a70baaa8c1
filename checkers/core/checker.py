"""The checker: a named function of a history, composable, that never crashes a run.

A checker is called with a history and a budget and returns a
:class:`~checkers.core.verdict.Result`. Nothing is to be inherited: :func:`checker` makes one of any
plain function, and ``a & b`` is the checker that runs both and merges their verdicts by the lattice
(a violation outranks doubt).

The result of a checker that raises is UNKNOWN, with the exception's type and message as the reason
and the traceback in ``stats["traceback"]``. So a bug in one checker neither hides a violation found
by another nor counts as VALID.

A checker with a vocabulary refuses a history that has other operations
(:mod:`checkers.core.vocabulary`), unless ``ignore`` names them. The refusal is UNKNOWN, with
the operations and their counts in ``stats["refused"]``.

For every module; it imports nothing heavy.
"""

from __future__ import annotations

import inspect
import re
import traceback
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, overload

import msgspec

from checkers.core.budget import Budget, BudgetSpent, Meter, clock_s, within
from checkers.core.verdict import Result, Verdict
from checkers.core.vocabulary import Vocabulary, names_of, refusal, without
from checkers.core.wording import shortened

if TYPE_CHECKING:
    from checkers.history import History

#: The form of a user's checker: ``(history) -> Verdict | Result``, optionally with ``budget``.
CheckFunction = Callable[..., object]


class Checker:
    """A named checker. Make one with :func:`checker`; compose with ``&``.

    Args:
        function: called with the history, and with ``budget=`` if it has that parameter.
        name: the checker's name, as on the command line and in results.
        parts: the checkers this one is composed of, if it is a composition.
        ignored: names of operations that are left out before the check.

    Attributes:
        vocabulary: the operations it supports, from the function's attribute of that name; None for
            any.
    """

    def __init__(
        self,
        function: CheckFunction,
        *,
        name: str,
        parts: Sequence[Checker] = (),
        ignored: Sequence[str] = (),
    ) -> None:
        self.function = function
        self.name = name
        self.parts = tuple(parts)
        self.ignored = tuple(ignored)
        self.vocabulary: Vocabulary | None = getattr(function, "vocabulary", None)
        self.__doc__ = function.__doc__
        self._takes_budget = _takes_budget(function)

    def __repr__(self) -> str:
        return f"<checker {self.name}>"

    def __call__(self, history: History, *, budget: Budget | None = None) -> Result:
        """Check a history; never raises for what the checker does wrong.

        Args:
            history: what to check.
            budget: what may be spent; None for the default budget.
        """
        budget = budget or Budget()
        started_s = clock_s()
        kept, left_out = without(history, self.ignored)
        if self.parts:
            result = self._check_parts(kept, budget)
        else:
            result = self._check_self(kept, budget)
        if left_out:
            result = _of_the_rest(result, kept.header["origin"], left_out)
        changes: dict[str, object] = {"checker": self.name}
        if not result.elapsed_s:
            changes["elapsed_s"] = clock_s() - started_s
        if not result.budget:
            changes["budget"] = budget.as_dict()
        return _readable(msgspec.structs.replace(result, **changes))

    def __and__(self, other: Checker | CheckFunction) -> Checker:
        """Both checkers as one; verdicts merge by the lattice."""
        return compose(self._as_parts() + as_checker(other)._as_parts())

    def __rand__(self, other: CheckFunction) -> Checker:
        return as_checker(other) & self

    def ignoring(self, *names: str) -> Checker:
        """The same checker, which leaves operations of these names out before it checks."""
        ignored = (*self.ignored, *names_of(names))
        return Checker(self.function, name=self.name, parts=self.parts, ignored=ignored)

    def _as_parts(self) -> tuple[Checker, ...]:
        return self.parts if self.parts and not self.ignored else (self,)

    def _check_self(self, history: History, budget: Budget) -> Result:
        if self.vocabulary is not None:
            sentence, counts = refusal(history, self.vocabulary, self.name)
            if sentence:
                stats = {"malformed": True, "refused": counts}
                return Result(self.name, Verdict.UNKNOWN, reason=sentence, stats=stats)
        try:
            with within(Meter(budget)):
                if self._takes_budget:
                    said = self.function(history, budget=budget)
                else:
                    said = self.function(history)
        except BudgetSpent as spent:
            reason = f"{spent} before the history was checked"
            return Result(checker=self.name, verdict=Verdict.UNKNOWN, reason=reason)
        except Exception as error:  # a checker may be user code: UNKNOWN, and why
            return _crashed(self.name, error, history)
        return _as_result(self.name, said)

    def _check_parts(self, history: History, budget: Budget) -> Result:
        meter = Meter(budget)
        results = [part(history, budget=meter.left()) for part in self.parts]
        verdict = Verdict.merge_all(result.verdict for result in results)
        telling = [result for result in results if result.verdict is verdict]
        reason = "; ".join(f"{result.checker}: {result.reason}" for result in telling[:3])
        return Result(checker=self.name, verdict=verdict, reason=reason, parts=results)


def compose(parts: Sequence[Checker | CheckFunction], *, name: str | None = None) -> Checker:
    """One checker of several, run in order within one time budget.

    Args:
        parts: at least one checker or plain check function.
        name: the composition's name; None for the parts' names joined by ``&``.

    Raises:
        ValueError: there are no parts.
    """
    made = [as_checker(part) for part in parts]
    if not made:
        raise ValueError("compose needs at least one checker: with none there is no evidence")

    def run_nothing(history: History) -> Result:
        raise AssertionError("a composition runs its parts")

    title = name or " & ".join(part.name for part in made)
    return Checker(run_nothing, name=title, parts=made)


@overload
def checker(function: CheckFunction, /) -> Checker: ...
@overload
def checker(*, name: str) -> Callable[[CheckFunction], Checker]: ...


def checker(
    function: CheckFunction | None = None, /, *, name: str | None = None
) -> Checker | Callable[[CheckFunction], Checker]:
    """Make a checker of a plain function ``(history) -> Verdict | Result``.

    The function may also take ``budget`` as a keyword. Use it bare or with a name::

        @checker
        def no_time_travel(history): ...

        @checker(name="time-travel")
        def no_time_travel(history): ...

    Raises:
        TypeError: what is decorated is no function, or does not take a history.
    """
    if function is None:
        return lambda decorated: _make(decorated, name)
    return _make(function, name)


def named(name: str, function: CheckFunction) -> Checker:
    """A checker of this name from a function; for checkers made by a factory."""
    return _make(function, name)


def as_checker(candidate: Checker | CheckFunction) -> Checker:
    """The candidate itself if it is a checker, else one made of it."""
    return candidate if isinstance(candidate, Checker) else _make(candidate, None)


def _make(function: CheckFunction, name: str | None) -> Checker:
    if isinstance(function, Checker):
        return Checker(
            function.function,
            name=name or function.name,
            parts=function.parts,
            ignored=function.ignored,
        )
    if not callable(function):
        raise TypeError(
            f"a checker is made of a function of a history, not of {function!r}; "
            "did you call it instead of naming it?"
        )
    if inspect.iscoroutinefunction(function):
        raise TypeError(
            f"checker {_name_of(function)!r} is an async function; a checker is a plain one: "
            "it runs after the test, when there is nothing left to wait for"
        )
    return Checker(function, name=name or _name_of(function))


def _name_of(function: CheckFunction) -> str:
    name = getattr(function, "__name__", type(function).__name__)
    return name.replace("_", "-").strip("-") or "checker"


def _takes_budget(function: CheckFunction) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(p.name == "budget" or p.kind is p.VAR_KEYWORD for p in parameters)


def _located(said: str, history: History) -> str:
    """A sentence about an event by its number, with the event's place in the file instead."""
    found = re.search(r"\bevent (\d+)\b", said)
    if found is None or int(found[1]) >= len(history):
        return said
    return said[: found.start()] + history.place(int(found[1])) + said[found.end() :]


def _crashed(name: str, error: Exception, history: History) -> Result:
    said = " ".join(str(error).split()) or "no message"
    if type(error).__name__ in ("HistoryError", "ModelError"):  # about the history, not a bug
        said = _located(said, history)
        return Result(checker=name, verdict=Verdict.UNKNOWN, reason=said, stats={"malformed": True})
    if isinstance(error, RecursionError):
        said = "the values are nested too deeply to be compared"
        return Result(checker=name, verdict=Verdict.UNKNOWN, reason=said, stats={"malformed": True})
    if isinstance(error, ValueError) and "integer string conversion" in said:
        said = (
            f"{_place_of_large(history)}a whole number has so many digits that it cannot be shown"
        )
        return Result(checker=name, verdict=Verdict.UNKNOWN, reason=said, stats={"malformed": True})
    return Result(
        checker=name,
        verdict=Verdict.UNKNOWN,
        reason=f"checker {name!r} raised {type(error).__name__}: {said}",
        stats={"traceback": "".join(traceback.format_exception(error))},
    )


def _place_of_large(history: History) -> str:
    """Where the first value is that Python does not turn into text, as the begin of a sentence."""
    for event, value in enumerate(history.values):
        try:
            repr(value)
        except ValueError:
            return f"{history.place(event)}: "
    return ""


def _of_the_rest(result: Result, origin: list[int], left_out: dict[str, int]) -> Result:
    """A result about a history without some operations, as one about the history with them."""
    said = ", ".join(f"{count} {name}" for name, count in left_out.items())
    reason = f"{result.reason.removesuffix('.')} (left out, as asked: {said})"
    return msgspec.structs.replace(
        result.moved(origin), reason=reason, stats={**result.stats, "ignored": left_out}
    )


def _readable(result: Result) -> Result:
    """The result with texts of a readable length; its parts were made so themselves."""
    findings = []
    for finding in result.findings:
        steps = tuple(
            msgspec.structs.replace(
                step, text=shortened(step.text), state=step.state and shortened(step.state)
            )
            for step in finding.because
        )
        title, sentence = shortened(finding.title), shortened(finding.sentence)
        findings.append(
            msgspec.structs.replace(finding, title=title, sentence=sentence, because=steps)
        )
    return msgspec.structs.replace(result, reason=shortened(result.reason), findings=findings)


def _as_result(name: str, said: object) -> Result:
    """The value returned by a user's function, as a result; a mistake becomes a sentence."""
    if isinstance(said, Result):
        return said
    if isinstance(said, Verdict):
        return Result(checker=name, verdict=said)
    hint = "return Verdict.VALID, Verdict.INVALID, Verdict.UNKNOWN or a Result"
    if said is None:
        guess = f"is a return missing? {hint}"
    elif isinstance(said, bool):
        guess = f"did you mean Verdict.{'VALID' if said else 'INVALID'}? {hint}"
    elif inspect.isawaitable(said):
        guess = f"it is something to await, and checkers are plain functions; {hint}"
        if inspect.iscoroutine(said):
            said.close()
    else:
        guess = hint
    return Result(
        checker=name,
        verdict=Verdict.UNKNOWN,
        reason=f"checker {name!r} returned {said!r}, which is no verdict: {guess}",
    )

"""The model: the sequential object that a concurrent history is checked against.

A history is linearizable if every operation can be thought to happen at one instant between its
invocation and its completion, such that the order of instants is a legal run of the sequential
object (Herlihy and Wing 1990). The sequential object is a :class:`Model`: an initial state and a
step function, in the shape Porcupine made common (init, step, equal, partition, describe).

A step sees the whole :class:`~checkers.history.Op`: ``op.f``, ``op.input``, and ``op.output`` if
``op.type`` is ``"ok"``. With type ``"info"`` the output is unknown and the step says what the
operation does if it happened. Operations that failed did not happen and reach no step, unless
``observes_failure`` says that this failure is an answer of the object (a compare-and-set that
found another value). A step must not look at indices or times: equal operations are one to it.

Any object with ``init`` and ``step`` will do; :func:`as_model` makes a Model of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from checkers.history import History, Op
from checkers.linearizability.values import show


class ModelError(ValueError):
    """A model that cannot be used, or one that a history's operations do not fit."""


def _never(op: Op) -> bool:
    return False


def describe_op(op: Op) -> str:
    """An operation in words, for models that bring no words of their own."""
    about = [] if op.input is None else [show(op.input)]
    result = f" -> {show(op.output)}" if op.type == "ok" and op.output != op.input else ""
    outcome = "" if op.type == "ok" else f" ({op.type})"
    return f"{op.f}({', '.join(about)}){result}{outcome}"


@dataclass(frozen=True, kw_only=True)
class Model:
    """A sequential object.

    Args:
        name: the model's name, as on the command line.
        init: makes the initial state.
        step: ``(state, op) -> (legal, new_state)``, or a set or list of the possible new states
            (empty if illegal) for an object that may do one of several things. The given state
            must not be changed in place.
        equal: whether two states are the same; None to compare by value, which is faster.
        partition: ``(history) -> groups of invocation indices`` that may be checked separately;
            None for one group per key (locality).
        describe_operation: an op in words.
        describe_state: a state in words.
        describe_failure: ``(state, op) ->`` why the op cannot happen in this state, in words.
        malformed: ``(op) ->`` what is wrong with its values, as the end of a sentence; empty if
            nothing is. The checker asks it of every operation before it checks.
        readonly: whether an op never changes the state whenever it is legal; such ops are tried
            first, which makes searches much shorter. Must be right for every state.
        observes_failure: whether a failed op is an answer of the object rather than a non-event.
        vocabulary: the ``f`` names the model knows; empty for any.
        by_process: whether steps look at ``op.process`` or ``op.node``.
        engine: the special engine that may decide this model; empty for the general search.
        parameters: what the special engine needs to know (an initial value, say).
    """

    name: str
    init: Callable[[], Any]
    step: Callable[[Any, Op], Any]
    equal: Callable[[Any, Any], bool] | None = None
    partition: Callable[[History], Iterable[Sequence[int]]] | None = None
    describe_operation: Callable[[Op], str] = describe_op
    describe_state: Callable[[Any], str] = show
    describe_failure: Callable[[Any, Op], str] | None = None
    malformed: Callable[[Op], str] | None = None
    readonly: Callable[[Op], bool] = _never
    observes_failure: Callable[[Op], bool] = _never
    vocabulary: frozenset[str] = frozenset()
    by_process: bool = True
    engine: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def states_after(self, state: Any, op: Op) -> list[Any]:
        """The states the op may lead to; none if it is illegal in this state.

        Raises:
            ModelError: the step function returned neither a pair nor a set of states.
        """
        said = self.step(state, op)
        if isinstance(said, tuple) and len(said) == 2 and isinstance(said[0], bool):
            return [said[1]] if said[0] else []
        if isinstance(said, (set, frozenset, list)):
            return list(said)
        raise ModelError(
            f"the step of model {self.name!r} returned {said!r} for {self.describe_operation(op)}; "
            "it must return (legal, new_state) with a bool first, or a set or list of new states"
        )

    def why_not(self, state: Any, op: Op) -> str:
        """Why the op cannot happen in this state, in words."""
        if self.describe_failure is not None:
            return self.describe_failure(state, op)
        return f"{self.describe_operation(op)} cannot happen: {self.state_text(state)}"

    def state_text(self, state: Any) -> str:
        """``the state is ...``, in the model's words."""
        return f"the state is {self.describe_state(state)}"


def as_model(candidate: Any) -> Model:
    """A Model from a Model, or from any object or class with ``init`` and ``step``.

    Of the object's other attributes those named like a field of :class:`Model` are used;
    ``init`` may be a function or the initial state itself.

    Raises:
        ModelError: there is no ``step`` or no ``init``.
    """
    if isinstance(candidate, Model):
        return candidate
    if isinstance(candidate, type):
        candidate = candidate()
    if callable(candidate) and not hasattr(candidate, "step"):
        name = getattr(candidate, "__name__", repr(candidate))
        raise ModelError(f"{name} is a function, not a model; did you forget to call it: {name}()?")
    for needed in ("init", "step"):
        if not hasattr(candidate, needed):
            raise ModelError(
                f"model {candidate!r} has no {needed!r}; a model needs init (the initial state) "
                "and step(state, op) -> (legal, new_state)"
            )
    init = candidate.init
    fields = {
        name: getattr(candidate, name)
        for name in Model.__dataclass_fields__
        if name not in ("name", "init", "engine", "parameters") and hasattr(candidate, name)
    }
    if "vocabulary" in fields:
        fields["vocabulary"] = frozenset(fields["vocabulary"])
    return Model(
        name=str(getattr(candidate, "name", type(candidate).__name__)),
        init=init if callable(init) else lambda: init,
        **fields,
    )


def whole(history: History) -> list[list[int]]:
    """The partition that keeps all operations together, for any keys."""
    return [history.invocations.tolist()]

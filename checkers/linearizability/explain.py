"""From a minimal failing window to a finding: data, a sentence, and what to draw.

The finding of a linearizability violation (kind ``nonlinearizable``):

- ``ops``: invocation indices of the minimal witness. As a history of its own it is illegal. Writes
  that were made optional (see :mod:`.zones.witness`) are not among them, but are steps.
- ``because``: first the most telling legal order of a part of the witness (kind ``step``: target is
  the invocation index, state the state after it), then every operation that could come next and
  why it cannot (kind ``stuck``: state is the one it was tried in), the one to blame first; which
  order and which operation, :mod:`.blame` says. Where one operation is impossible by itself, the
  sentence says who would have made it possible (:mod:`.unexplained_values`).
- ``detail``: ``window`` (positions of the first and last event of the witness), ``start_state``
  (where that order begins), ``any_start`` (whether it does not begin with the initial state, as
  the witness is illegal whatever the state was before it), ``linearized`` (events before this
  position are linearizable as a whole, or None), ``key_ops`` (operations checked on this key),
  ``rechecked`` (True if the brute-force search confirmed it, None if the witness is too large).
"""

from __future__ import annotations

from checkers.core.verdict import Because, Finding
from checkers.history import Fault, History, Op
from checkers.linearizability.blame import Account, account
from checkers.linearizability.model import Model
from checkers.linearizability.problem import NEVER, Problem
from checkers.linearizability.search.memoized_model import Machine
from checkers.linearizability.search.wgl import Outcome
from checkers.linearizability.unexplained_values import would_have
from checkers.linearizability.values import show
from checkers.linearizability.verify import brute_force

#: Witnesses up to this size are checked once more from the bare definition.
BRUTE_OPS_MAX = 14

#: Steps that judgement may take.
BRUTE_STEPS_MAX = 200_000


def finding_of(
    history: History,
    witness: Problem,
    machine: Machine,
    outcome: Outcome,
    *,
    certified: int | None = None,
    key_ops: int = 0,
) -> Finding:
    """The finding of an illegal witness.

    Args:
        history: where it was found; its faults are named in the sentence.
        witness: the minimal operations, as recorded.
        machine: the model.
        outcome: of searching the witness from the initial state.
        certified: events before this position are linearizable, if known.
        key_ops: number of operations checked on this key.
    """
    shown = account(witness, machine, outcome)
    ops = tuple(sorted(op.invoke for op, s in zip(witness.ops, witness.start) if s == op.invoke))
    last = max((*ops, *(end for end in witness.end if end != NEVER)), default=0)
    rechecked = None
    if len(witness) <= BRUTE_OPS_MAX:
        answer = brute_force(witness, machine.model, limit=BRUTE_STEPS_MAX)
        rechecked = None if answer is None else not answer
    key = witness.ops[0].key if witness.ops else None
    return Finding(
        kind="nonlinearizable",
        title="not linearizable: no order of these operations is legal",
        sentence=_sentence(history, witness, machine, shown),
        key=key,
        ops=ops,
        because=(*_steps(history, witness, machine, shown), *_stuck(witness, machine, shown)),
        breaks="linearizable",
        detail={
            "window": [min(ops, default=0), last],
            "start_state": machine.model.describe_state(machine.states[shown.start]),
            "any_start": shown.anywhere,
            "linearized": certified,
            "key_ops": key_ops,
            "rechecked": rechecked,
        },
    )


def _steps(
    history: History, witness: Problem, machine: Machine, shown: Account
) -> tuple[Because, ...]:
    model = machine.model
    made: list[Because] = []
    before = -1
    for index, state in shown.path:
        op = witness.ops[index]
        after = model.describe_state(machine.states[state])
        when = ""
        if witness.start[index] != op.invoke:
            merged = op.f in ("put", "append") and op.input != history.values[op.invoke]
            when = f" ({'with what was appended next, ' * merged}whenever it was)"
        done = model.describe_operation(op) + when
        text = f"process {op.process}: {done}; the state is then {after}"
        made.append(
            Because(
                "step",
                source=before,
                target=op.invoke,
                key=op.key,
                value=op.value,
                state=after,
                text=text,
            )
        )
        before = op.invoke
    return tuple(made)


def _stuck(witness: Problem, machine: Machine, shown: Account) -> tuple[Because, ...]:
    model = machine.model
    return tuple(
        Because(
            "stuck",
            target=witness.ops[index].invoke,
            key=witness.ops[index].key,
            value=witness.ops[index].value,
            state=model.describe_state(machine.states[state]),
            text=model.why_not(machine.states[state], witness.ops[index]),
        )
        for index, state in shown.stuck
    )


def at_time(event: int, time_ns: int) -> str:
    """A moment in words: seconds since the start, or the event's index where there are no times."""
    return f"event {event}" if time_ns < 0 else f"t={time_ns / 1e9:.3f} s"


def _sentence(history: History, witness: Problem, machine: Machine, shown: Account) -> str:
    """``Key x: after process 3's write of 2 completed (...), process 7 read 1 (...).``"""
    model = machine.model
    if not shown.stuck:
        return "No order of the operations is legal."
    index, state = shown.stuck[0]
    bad = witness.ops[index]
    start = witness.start[index]
    about = "" if bad.key is None else f"Key {bad.key}: "
    context = _context(witness, machine, shown, start)
    doing = f"read {show(bad.output)}" if bad.f in ("read", "get") and bad.type == "ok" else ""
    who = f"process {bad.process}"
    act = f"{who} {doing}" if doing else f"{who} completed {model.describe_operation(bad)}"
    when = at_time(bad.complete, bad.complete_ns)
    why_not = model.why_not(machine.states[state], bad)
    during = _during(history, bad)
    if len(witness) == 1 and bad.type == "ok":
        said = _from_nowhere(history, bad, model, "" if doing else why_not)
        sentence = f"{about}{act} ({when}){during}{said}."
    else:
        why = "" if doing and context.startswith("after") else f": {why_not}"
        sentence = f"{about}{context}{act} ({when}){why}{during}."
    return sentence[0].upper() + sentence[1:]


def _from_nowhere(history: History, bad: Op, model: Model, why_not: str) -> str:
    """The words for an operation that is impossible by itself, in any order of the others."""
    unchanged = f": {why_not}, and no operation can have changed that"
    said = unchanged if why_not else ", which no operation can have left there"
    named = would_have(history, bad, model)
    return f"{said}; {named}" if named else said


def _context(witness: Problem, machine: Machine, shown: Account, start: int) -> str:
    """The context for the reader: the last change that came before in every order."""
    for index, _ in reversed(shown.path):
        op = witness.ops[index]
        if machine.class_readonly[machine.class_number(op)]:
            continue
        what = f"process {op.process}'s {machine.model.describe_operation(op)}"
        if witness.end[index] < start:
            return f"after {what} completed ({at_time(op.complete, op.complete_ns)}), "
        return f"with {what} in effect ({at_time(op.invoke, op.invoke_ns)}), "
    if shown.anywhere and shown.path:
        op = witness.ops[shown.path[-1][0]]
        what = f"process {op.process}'s {machine.model.describe_operation(op)}"
        return f"beside {what} ({at_time(op.complete, op.complete_ns)}), "
    return ""


def _during(history: History, op: Op) -> str:
    """The faults in force while the operation ran, in words."""
    if op.invoke_ns < 0:
        return ""
    until = op.complete_ns if op.complete_ns >= 0 else op.invoke_ns
    over = [
        fault
        for fault in history.faults
        if fault.begin_ns <= until
        and (fault.end_ns < 0 or fault.end_ns >= op.invoke_ns)
        and fault.outcome != "skipped"
    ]
    return f" during {' and '.join(map(_fault_words, over))}" if over else ""


def _fault_words(fault: Fault) -> str:
    value: object = fault.value
    if isinstance(value, list) and value and all(isinstance(group, list) for group in value):
        groups = " | ".join("{" + ",".join(map(str, group)) + "}" for group in value)
        return f"{fault.f} {groups}"
    return f"{fault.f} of {', '.join(fault.nodes)}" if fault.nodes else fault.f

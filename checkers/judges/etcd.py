"""etcd: requests are linearizable at the revisions they were answered with, and watches keep order.

For histories of etcd's robustness tests (:mod:`checkers.history.importers.etcd_report`).
Vocabulary, inputs and outputs being maps:

- ``range`` (``start``, perhaps ``end limit keys-only revision``; output: ``revision``, and ``kvs``:
  a list of ``[key, value, modification revision, version]``);
- ``put`` (``key value``, perhaps ``lease``), ``delete`` (``key``; output: ``deleted``);
- ``txn`` (``if``: conditions ``[key, "revision" or "version", n]``; ``then`` and ``else``: lists of
  the above with their ``f``; output: ``failed``, ``results``);
- ``lease-grant lease-revoke`` (``lease``), ``compact defragment``, and ``watch`` as
  :mod:`checkers.judges.watch` has it.

The store begins empty, at revision 1; a request that changes anything makes the next revision. A
``range`` of a past revision is compared with what the store held then, if the order found
determines it. Watches are checked by :mod:`checkers.judges.watch`, with the writes as witnesses.

Source: the model and the validation of etcd's robustness tests.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from checkers.core.budget import Budget
from checkers.core.checker import Checker, named
from checkers.core.verdict import Because, Finding, Result, Verdict
from checkers.core.vocabulary import Vocabulary
from checkers.history import Event, History, Op
from checkers.history.columns import short
from checkers.judges.watch import watch
from checkers.linearizability.check import check
from checkers.linearizability.model import Model
from checkers.linearizability.problem import refuse_malformed
from checkers.linearizability.values import token

_WRITES = frozenset(("put", "delete", "txn", "lease-grant", "lease-revoke"))
_IDLE = frozenset(("compact", "defragment"))
_VOCABULARY = _WRITES | _IDLE | {"range", "watch"}

#: Findings about ranges of past revisions that are kept.
FINDINGS_MAX = 8


class Kept(NamedTuple):
    """The stored state of a key."""

    value: object  # a token
    revision: int  # of its last change
    version: int  # how often it was put since it was created
    lease: int  # 0 for none


class Store(NamedTuple):
    """The state of the store."""

    revision: int = 1
    keys: tuple[tuple[str, Kept], ...] = ()  # sorted
    leases: frozenset[int] = frozenset()


def etcd() -> Checker:
    """The checker ``etcd``."""

    def check_history(history: History, *, budget: Budget | None = None) -> Result:
        """Requests by their revisions, and watches, which are soon checked and come first."""
        refuse_malformed(history, model())
        parts = []
        if "watch" in history.functions:
            parts.append(_watches(history, budget))
        if set(history.functions) - {"watch"}:
            parts.insert(0, _requests(history, _left(budget, parts)))
        verdict = Verdict.merge_all(part.verdict for part in parts)
        reason = "; ".join(part.reason for part in parts if part.verdict is verdict)
        return Result(checker="etcd", verdict=verdict, reason=reason, parts=parts)

    check_history.vocabulary = Vocabulary(_VOCABULARY)  # type: ignore[attr-defined]
    return named("etcd", check_history)


# The model ----------------------------------------------------------------------------------------


def model() -> Model:
    """The store as a sequential object."""
    return Model(
        name="etcd",
        init=Store,
        step=_step,
        partition=_partition,
        describe_operation=_words,
        describe_state=_holds,
        describe_failure=_failure,
        readonly=lambda op: op.f in _IDLE or op.f == "range",
        malformed=_malformed,
        vocabulary=_VOCABULARY,
        by_process=False,
    )


#: The required fields of a request's input.
_NEEDED = {
    "range": ("start",),
    "put": ("key", "value"),
    "delete": ("key",),
    "txn": ("if", "then", "else"),
    "lease-grant": ("lease",),
    "lease-revoke": ("lease",),
}


def _malformed(op: Op) -> str:
    """The error of a request's values, as the end of a sentence; "" if there is none."""
    if op.f == "watch":
        return ""
    if not isinstance(op.input, dict):
        return f"asks {short(op.input)}, which is no map as requests of etcd are"
    lacks = [name for name in _NEEDED.get(op.f, ()) if name not in op.input]
    if lacks:
        return f"has no {lacks[0]!r}"
    if op.type == "ok" and not isinstance(op.output, dict):
        return f"was answered {short(op.output)}, which is no map as answers of etcd are"
    return ""


def _partition(history: History) -> list[list[int]]:
    """All requests together; watches are none."""
    functions = history.functions
    return [[i for i in history.invocations.tolist() if functions[history.f[i]] != "watch"]]


def _step(store: Store, op: Op) -> tuple[bool, Store]:
    asked, output = op.input, op.output if op.type == "ok" else {}
    if op.f in _IDLE or op.f == "watch" or (op.f == "range" and "revision" in asked):
        return True, store
    if op.f == "range":
        return _answers(store, asked, output), store
    if op.f in ("lease-grant", "lease-revoke"):
        after = _lease(store, op.f, asked["lease"])
        return _at(output, after.revision), after
    request = asked if op.f == "txn" else {"if": [], "then": [{"f": op.f, **asked}], "else": []}
    if op.f == "delete" and "deleted" in output:
        output = {**output, "results": [{"deleted": output["deleted"]}]}
    legal, after = _txn(store, request, output)
    return legal and asked.get("at", after.revision) == after.revision, after


def _at(output: dict[str, object], revision: int) -> bool:
    """Whether an answer was given at this revision, if it names one."""
    return bool(output.get("revision", revision) == revision)


def _answers(store: Store, asked: dict[str, Any], output: dict[str, Any]) -> bool:
    """Whether a range that was answered so saw this store."""
    if not _at(output, store.revision) or "kvs" not in output:
        return "kvs" not in output and _at(output, store.revision)
    found = _found(store, asked)
    limit = asked.get("limit", 0)
    if "end" in asked and output.get("count", 0) not in (0, len(found)):
        return False
    found = found[:limit] if limit else found
    if len(found) != len(output["kvs"]):
        return False
    return all(
        key == name
        and (asked.get("keys-only", False) or kept.value == token(value))
        and revision in (0, kept.revision)
        and version in (0, kept.version)
        for (name, kept), (key, value, revision, version) in zip(found, output["kvs"])
    )


def _found(store: Store, asked: dict[str, Any]) -> list[tuple[str, Kept]]:
    if "end" not in asked:
        return [entry for entry in store.keys if entry[0] == asked["start"]]
    return [entry for entry in store.keys if asked["start"] <= entry[0] < asked["end"]]


def _lease(store: Store, f: str, lease: int) -> Store:
    if f == "lease-grant":
        return store._replace(leases=store.leases | {lease} - {0})
    keys = tuple(entry for entry in store.keys if entry[1].lease != lease or not lease)
    revision = store.revision + (len(keys) < len(store.keys))
    return Store(revision, keys, store.leases - {lease})


def _txn(store: Store, asked: dict[str, Any], output: dict[str, Any]) -> tuple[bool, Store]:
    """A transaction: whether it may be answered so, and the store after it."""
    keys = dict(store.keys)
    failed = not all(_holds_of(keys.get(key), what, wanted) for key, what, wanted in asked["if"])
    if output.get("failed", failed) != failed:
        return False, store
    results = output.get("results", [])
    changed = False
    for number, step in enumerate(asked["else"] if failed else asked["then"]):
        said = results[number] if number < len(results) else {}
        if step["f"] == "range":
            now = Store(store.revision, tuple(sorted(keys.items())))
            if not _answers(now, step, said):
                return False, store
        elif step["f"] == "delete":
            gone = keys.pop(step["key"], None) is not None
            if said.get("deleted", gone) != gone:
                return False, store
            changed = changed or gone
        elif step.get("lease", 0) in store.leases | {0}:
            before = keys.get(step["key"])
            version = before.version + 1 if before else 1
            value, lease = token(step["value"]), step.get("lease", 0)
            keys[step["key"]] = Kept(value, store.revision + 1, version, lease)
            changed = True
    after = Store(store.revision + changed, tuple(sorted(keys.items())), store.leases)
    return _at(output, after.revision), after


def _holds_of(kept: Kept | None, what: str, wanted: int) -> bool:
    if kept is None:
        return wanted == 0
    return wanted == (kept.version if what == "version" else kept.revision)


# Words --------------------------------------------------------------------------------------------


def _value(value: object) -> str:
    if isinstance(value, tuple):  # the token of a hash
        value = value[1][1]
    return f"hash {value['hash']}" if isinstance(value, dict) else str(value)


def _asked(f: str, asked: dict[str, Any]) -> str:
    if f == "put":
        return f"put {asked['key']}={_value(asked['value'])}"
    if f == "range":
        past = f" at revision {asked['revision']}" if "revision" in asked else ""
        return f"range {asked['start']}" + (f"..{asked['end']}" if "end" in asked else "") + past
    if f == "txn":
        tests = " and ".join(f"{what} of {key} is {n}" for key, what, n in asked["if"])
        then, other = (
            ", ".join(_asked(step["f"], step) for step in asked[branch]) or "nothing"
            for branch in ("then", "else")
        )
        return f"txn: if {tests} then {then} else {other}" if tests else f"txn: {then}"
    return " ".join([f, *(str(item) for item in asked.values())])


def _answer_words(output: dict[str, Any]) -> str:
    """An answer in words."""
    words = []
    if output.get("failed"):
        words.append("else")
    for result in [output, *output.get("results", [])]:
        if "kvs" in result:
            kvs = ", ".join(f"{key}={_value(value)}" for key, value, *_ in result["kvs"])
            words.append(kvs or "nothing")
    if "revision" in output:
        words.append(f"at revision {output['revision']}")
    return " ".join(words) or "ok"


def _words(op: Op) -> str:
    said = _answer_words(op.output) if op.type == "ok" else "unknown"
    return f"{_asked(op.f, op.input)} ({said})"


def _holds(store: Store) -> str:
    held = ", ".join(f"{key}={_value(kept.value)}" for key, kept in store.keys) or "nothing"
    return f"revision {store.revision} with {held}"


def _failure(store: Store, op: Op) -> str:
    output = op.output if op.type == "ok" else {}
    stale = (
        "a stale read: " if op.f == "range" and output.get("revision", 0) < store.revision else ""
    )
    answered = f"{stale}{_asked(op.f, op.input)} was answered {_answer_words(output)}"
    return f"{answered}, but the store is at {_holds(store)}"


def _left(budget: Budget | None, parts: list[Result]) -> Budget | None:
    """The rest of a budget after some parts."""
    if budget is None or budget.time_s is None:
        return budget
    spent_s = sum(part.elapsed_s for part in parts)
    return msgspec.structs.replace(budget, time_s=max(0.0, budget.time_s - spent_s))


# Requests -----------------------------------------------------------------------------------------


def _requests(history: History, budget: Budget | None) -> Result:
    said = check(history, model(), budget=budget, linearization=True)
    said.checker = "etcd requests"
    orders = said.stats.pop("linearization", [])
    if said.verdict is Verdict.VALID:
        _past(history, orders, said)
    return said


def _past(history: History, orders: Iterable[tuple[object, list[int]]], said: Result) -> None:
    """Compare ranges of past revisions with the states that the order found determines."""
    ranges = [op for op in history.ops() if op.f == "range" and "revision" in op.input]
    if not any(op.type == "ok" for op in ranges):
        return
    states = _states(history, [index for _, order in orders for index in order])
    open_ = 0
    for op in ranges:
        state = states.get(op.input["revision"])
        if op.type != "ok":
            continue
        if state is None:
            open_ += 1
        elif not _answers(state, op.input, {**op.output, "revision": state.revision}):
            said.findings.append(_past_finding(op, state))
    said.findings = said.findings[:FINDINGS_MAX]
    if said.findings:
        said.verdict, said.reason = Verdict.INVALID, said.findings[0].sentence
    elif open_:
        said.reason += f"; {open_} ranges of past revisions were not checked"


def _states(history: History, order: list[int]) -> dict[int, Store]:
    """The store at each revision, as long as no write of unknown revision comes before."""
    store = Store()
    states = {store.revision: store}
    for index in order:
        op = history.op(index)
        after = _step(store, op)[1]
        if op.type != "ok" and after != store and "at" not in op.input:
            break
        store = states[after.revision] = after
    return states


def _past_finding(op: Op, state: Store) -> Finding:
    return Finding(
        kind="wrong-past",
        title="a range of a past revision differs from what the store held then",
        sentence=f"Process {op.process}: {_asked('range', op.input)} was answered "
        f"{_answer_words({**op.output, 'revision': op.input['revision']})}, but the store was at "
        f"{_holds(state)}.",
        ops=(op.invoke,),
        because=(Because("state", source=op.invoke, state=_holds(state)),),
        detail={"revision": op.input["revision"]},
    )


# Watches ------------------------------------------------------------------------------------------


def _watches(history: History, budget: Budget | None) -> Result:
    witnesses, origin = _plain_writes(history)
    said = watch()(witnesses, budget=budget)
    said.findings = [_moved(finding, origin) for finding in said.findings]
    return said


def _moved(finding: Finding, origin: list[int]) -> Finding:
    """A finding about the derived history as one about the history."""

    def there(index: int) -> int:
        return origin[index] if index >= 0 else -1

    steps = tuple(
        msgspec.structs.replace(step, source=there(step.source), target=there(step.target))
        for step in finding.because
    )
    ops = tuple(sorted({there(op) for op in finding.ops}))
    return msgspec.structs.replace(finding, ops=ops, because=steps)


def _plain_writes(history: History) -> tuple[History, list[int]]:
    """Watches with the single puts and deletes that requests are, and each event's origin.

    Every put or delete of a transaction becomes an operation of a process of its own, with the
    transaction's interval; of one whose outcome is unknown both branches may have happened. When a
    lease is revoked, each key that was ever put with it may be deleted.
    """
    events: list[Event] = []
    origin: list[int] = []
    leased = _leased(history)
    for index, event in enumerate(history.events()):
        if event.f == "watch":
            events.append(event)
            origin.append(index)
            continue
        begun = index if event.type == "invoke" else int(history.pair[index])
        op = history.op(begun)
        revoked = leased.get(op.input["lease"], ()) if op.f == "lease-revoke" else ()
        steps = _write_steps(op) + [{"f": "delete", "key": key} for key in revoked]
        for number, step in enumerate(steps):
            value = step.get("value") if event.type != "ok" else _write_output(op, step)
            process = f"{op.process} ({begun}.{number})"
            known = "info" if revoked and event.type == "ok" else event.type
            events.append(
                Event(index, event.time_ns, process, known, step["f"], step["key"], value)
            )
            origin.append(index)
    return History.from_events(events, header=history.header), origin


def _leased(history: History) -> dict[int, list[str]]:
    """The keys that were ever put with each lease, in order."""
    found: dict[int, dict[str, None]] = {}
    for op in history.ops():
        steps = [*op.input["then"], *op.input["else"]] if op.f == "txn" else [op.input]
        for step in steps:
            if op.f in ("put", "txn") and step.get("lease"):
                found.setdefault(step["lease"], {})[step["key"]] = None
    return {lease: list(keys) for lease, keys in found.items()}


def _write_steps(op: Op) -> list[dict[str, Any]]:
    """The puts and deletes that a request made, or may have made."""
    if op.f in ("put", "delete"):
        return [{"f": op.f, **op.input}]
    if op.f != "txn":
        return []
    if op.type == "ok":
        steps = op.input["else" if op.output["failed"] else "then"]
        results = op.output["results"] + [{}] * len(steps)
        steps = [{**step, **result} for step, result in zip(steps, results)]
    else:
        steps = op.input["then"] + op.input["else"]
    return [step for step in steps if step["f"] != "range"]


def _write_output(op: Op, step: dict[str, object]) -> dict[str, object]:
    output: dict[str, object] = (
        {"revision": op.output["revision"]} if "revision" in op.output else {}
    )
    gone = op.output.get("deleted", step.get("deleted", 0))
    return output | ({"deleted": gone} if step["f"] == "delete" else {})

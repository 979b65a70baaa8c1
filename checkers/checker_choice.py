"""Which checker a history calls for: by name, by its header, or by its vocabulary.

`checkers_by_name` is the registry behind the command line: every model and checker under one name.
`choose` makes the checker of a name, or infers one. Inference trusts the history's header first
(its ``model`` or ``workload``), then the names of its operations and the shapes of their values.
Where several checkers fit and none is implied by another, it refuses and says which fit: a verdict
about the wrong promise is worse than none.

For ``harness check`` and :mod:`checkers.check_files`.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Hashable, Mapping
from typing import Any

from checkers import known_order
from checkers.core.checker import Checker, as_checker, named
from checkers.core.vocabulary import foreign, names_of, without
from checkers.core.wording import did_you_mean
from checkers.history import FAIL, INVOKE, OK, History, freeze

Factory = Callable[..., Checker]


class ChoiceError(ValueError):
    """No checker can be chosen; the message says why, and what there is."""


# The registry -------------------------------------------------------------------------------------

#: Names of linearizability models that would otherwise be names of other checkers.
_RENAMED = {"set": "linearizable-set", "counter": "linearizable-counter"}
_RENAMED_BACK = {ours: theirs for theirs, ours in _RENAMED.items()}

#: Levels of isolation that plain reads and writes decide without a version order.
WEAK = ("read-committed", "read-atomic", "causal")

#: Levels which need a version order; with none known, they are solved for.
SOLVED = ("serializable", "snapshot-isolation")

_SYNONYMS = {
    "append": "list-append", "elle": "list-append", "wr": "rw-register",
    "cas": "cas-register", "kv": "key-value", "fifo": "fifo-queue", "kafka": "log",
    "kafka-log": "log", "unique": "unique-ids", "ids": "unique-ids", "leases": "lease",
    "locks": "lock", "watches": "watch", "kv-append": "key-value", "linearizable": "register",
    "g-counter": "pn-counter", "g-set": "set-full", "broadcast": "set-full",
    "lin-kv": "cas-register", "txn-list-append": "list-append", "txn-rw-register": "rw-register",
}  # fmt: skip


#: Models of linearizability by name; those of :data:`checkers.linearizability.models.NAMES`.
MODELS = (
    "register", "cas-register", "multi-register", "mutex", "counter", "set", "fifo-queue",
    "unordered-queue", "stack", "priority-queue", "append-list", "key-value",
)  # fmt: skip

#: The other checkers that make themselves: name -> where the factory is, imported when called.
_HOMES = {
    "set": "checkers.judges.set:final_set",
    "set-full": "checkers.judges.set:set_full",
    "queue": "checkers.judges.queue:queue",
    "total-queue": "checkers.judges.queue:total_queue",
    "unique-ids": "checkers.judges.unique_ids:unique_ids",
    "counter": "checkers.judges.counter:counter",
    "pn-counter": "checkers.judges.counter:pn_counter",
    "bank": "checkers.judges.bank:bank",
    "long-fork": "checkers.judges.long_fork:long_fork",
    "causal": "checkers.judges.causal:causal",
    "causal-reverse": "checkers.judges.causal:causal_reverse",
    "monotonic": "checkers.judges.monotonic:monotonic",
    "session-guarantees": "checkers.judges.sessions:session_guarantees",
    "bounded-staleness": "checkers.judges.staleness:bounded_staleness",
    "lock": "checkers.judges.lock:lock",
    "election": "checkers.judges.election:election",
    "ownership": "checkers.judges.ownership:ownership",
    "lease": "checkers.judges.lease:lease",
    "watch": "checkers.judges.watch:watch",
    "log": "checkers.judges.log:kafka_log",
    "convergence": "checkers.judges.convergence:convergence",
    "siblings": "checkers.judges.siblings:siblings",
    "log-pattern": "checkers.judges.log_pattern:log_pattern",
    "etcd": "checkers.judges.etcd:etcd",
}


def checkers_by_name() -> dict[str, Factory]:
    """Every checker by its name on the command line; each takes its options as keywords."""
    registry: dict[str, Factory] = {
        _RENAMED.get(name, name): _linearizable(name) for name in MODELS
    }
    registry |= {
        "list-append": _list_append,
        "rw-register": _rw_register,
        "read-committed": _weak("read-committed"),
        "read-atomic": _weak("read-atomic"),
        "transactional-causal": _weak("causal"),
        "serializable": _solved("serializable"),
        "snapshot-isolation": _solved("snapshot-isolation"),
    }
    registry |= {name: _from(home) for name, home in _HOMES.items()}
    return registry


def factory(name: str) -> Factory:
    """The factory of a named checker, with its own docstring where it has one."""
    return _found(_HOMES[name]) if name in _HOMES else checkers_by_name()[name]


def _found(home: str) -> Factory:
    module, _, attribute = home.partition(":")
    factory: Factory = getattr(importlib.import_module(module), attribute)
    return factory


def _from(home: str) -> Factory:
    def make(**options: object) -> Checker:
        return _found(home)(**options)

    return make


def _linearizable(name: str) -> Factory:
    def make(**options: Any) -> Checker:
        from checkers.linearizability import linearizable, models

        return linearizable(models.NAMES[name](**options), name=_RENAMED.get(name, name))

    return make


def _list_append(*, consistency_model: str | None = None, **options: Any) -> Checker:
    from checkers import isolation

    if consistency_model:
        options["consistency_models"] = tuple(consistency_model.split(","))
    return as_checker(_titled("list-append", isolation.list_append(**options)))


def _rw_register(*, consistency_model: str | None = None, **options: Any) -> Checker:
    from checkers import isolation

    if consistency_model:
        options["consistency_models"] = tuple(consistency_model.split(","))
    return as_checker(_titled("rw-register", isolation.rw_register(**options)))


def _weak(level: str) -> Factory:
    def make(**options: object) -> Checker:
        from checkers import isolation

        name = "transactional-causal" if level == "causal" else level
        return as_checker(_titled(name, isolation.weak(level, **options)))

    return make


def _solved(level: str) -> Factory:
    def make(**options: object) -> Checker:
        from checkers import isolation

        return as_checker(_titled(level, isolation.serial(level, **options)))

    return make


def _titled(name: str, made: Any) -> Checker:
    return made if isinstance(made, Checker) else named(name, made)


# Choosing -----------------------------------------------------------------------------------------


def choose(
    history: History,
    model: str | None = None,
    consistency_model: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Checker:
    """The checker for a history.

    Args:
        history: what is to be checked.
        model: the name of a model or checker, or ``module:attribute`` of one's own; None to infer
            it.
        consistency_model: the isolation level a transactional history should have; several with
            commas between them.
        options: the checker's own options, by name; and ``ignore`` of every checker, names of
            operations that are left out: ``a,b`` or a list.

    Raises:
        ChoiceError: no such name, an option the checker does not have, or no or several models fit.
    """
    options = dict(options or {})
    try:
        ignored = names_of(options.pop("ignore", ()))
    except ValueError as error:
        raise ChoiceError(f"{error}") from None
    kept, left_out = without(history, ignored)
    if left_out:
        listed = ", ".join(f"{count} {name}" for name, count in left_out.items())
        history.notes.append(f"Left out, as asked: {listed}.")
    return _choose(kept, model, consistency_model, options).ignoring(*ignored)


def _choose(
    history: History, model: str | None, consistency_model: str | None, options: dict[str, object]
) -> Checker:
    if model and ":" in model:
        return _users_own(model, options)
    name = resolve(model) if model else infer(history)
    keywords = {**_implied(history, name), **options}
    name, keywords = _isolation(history, name, consistency_model, keywords)
    _require_options(name, options)
    model_name = "" if name in _RENAMED else _RENAMED_BACK.get(name, name)
    refused = known_order.refusal(history, model_name, keywords)
    if refused:
        raise ChoiceError(refused)
    try:
        return checkers_by_name()[name](**keywords)
    except TypeError as error:
        raise ChoiceError(f"checker {name!r} cannot take these options: {error}") from None
    except ValueError as error:
        raise ChoiceError(f"{error}") from None


def options_of(name: str) -> dict[str, Any]:
    """The options that the checker of a name takes, with their defaults."""
    make: Callable[..., object] = checkers_by_name()[name]
    plain = _RENAMED_BACK.get(name, name)
    if name in _HOMES:
        make = _found(_HOMES[name])
    elif plain in MODELS and name not in _RENAMED:
        from checkers.linearizability import models

        make = models.NAMES[plain]
    elif name in ("list-append", "rw-register"):
        from checkers import isolation

        make = isolation.list_append if name == "list-append" else isolation.rw_register
    elif name in (*WEAK, *SOLVED, "transactional-causal"):
        from checkers import isolation

        make = functools.partial(isolation.serial if name in SOLVED else isolation.weak, name)
    parameters = inspect.signature(make).parameters.values()
    return {
        parameter.name: parameter.default
        for parameter in parameters
        if parameter.kind is not parameter.VAR_KEYWORD and parameter.name != "consistency_models"
    }


def _require_options(name: str, options: Mapping[str, object]) -> None:
    known = options_of(name) if options else {}
    for option in options:
        if option not in known:
            there = [f"{word} (now {value!r})" for word, value in known.items()]
            raise ChoiceError(
                f"checker {name!r} has no option {option!r}; it has "
                f"{', '.join([*there, 'ignore (operations to leave out)'])}"
            )


def _users_own(place: str, options: dict[str, object]) -> Checker:
    """The checker of ``module:attribute``: a checker, a model, or what makes one.

    Raises:
        ChoiceError: there is no such thing, or it is neither.
    """
    from checkers.linearizability import Model, linearizable

    module, _, attribute = place.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ChoiceError(f"{place!r} cannot be imported: {error}") from None
    if not isinstance(found, (Checker, Model)) and callable(found) and _is_factory(found, options):
        found = found(**options)
    if isinstance(found, Model):
        return linearizable(found, name=attribute)
    if isinstance(found, Checker) or callable(found):
        return as_checker(found)
    raise ChoiceError(f"{place!r} is {type(found).__name__}, and neither a model nor a checker")


def _is_factory(found: Callable[..., object], options: Mapping[str, object]) -> bool:
    """Whether it can be called without a history: then it makes a model or a checker."""
    try:
        inspect.signature(found).bind(**options)
    except TypeError:
        return False
    return True


def resolve(model: str) -> str:
    """The registry's name for a name as users write it.

    Raises:
        ChoiceError: there is no such model; the nearest names are said.
    """
    names = checkers_by_name()
    wanted = model.strip().lower().replace("_", "-").replace(" ", "-")
    wanted = _SYNONYMS.get(wanted, wanted) if wanted not in names else wanted
    if wanted in names:
        return wanted
    hint = did_you_mean(wanted, names, also=_SYNONYMS, at_most=3)
    raise ChoiceError(f"model {model!r} is not known; {hint}")


def _implied(history: History, name: str) -> dict[str, object]:
    """Options that the history itself implies."""
    header = history.header
    extra: dict[str, object] = {}
    if name in ("cas-register", "key-value") and header.get("failed_cas") == "observed":
        extra["failed_cas"] = "observed"
    if name == "bounded-staleness" and "staleness_s" in header:
        extra["bound_s"] = "inf" if header["staleness_s"] is None else header["staleness_s"]
    if "initial" in header and name in ("register", "cas-register", "key-value"):
        extra["init"] = header["initial"]
    if name == "multi-register" and "initial" in header:
        extra["init"] = header["initial"]
    elif name == "multi-register" and "format" not in header:
        first = _first_reads(history)
        if first:
            extra["init"] = first
            listed = ", ".join(f"{key}={value}" for key, value in first.items())
            history.notes.append(f"Initial values are those of the first reads: {listed}.")
    return extra


def _first_reads(history: History) -> dict[Hashable, object]:
    """Initial values of registers, where the first read of one returned an unwritten value.

    Knossos states the initial values of a multi-register beside the history, not in it.
    """
    written: dict[Hashable, list[object]] = {}
    first: dict[Hashable, object] = {}
    seen: set[Hashable] = set()
    for index, value in enumerate(history.values):
        if not isinstance(value, list):
            continue
        for micro in value:
            if not (isinstance(micro, list) and len(micro) == 3):
                continue
            f, key, item = micro[0], freeze(micro[1]), micro[2]
            if f == "w" and history.type[index] == INVOKE:
                written.setdefault(key, []).append(item)
            elif f == "r" and history.type[index] == OK and key not in seen:
                seen.add(key)
                if item is not None and item not in written.get(key, []):
                    first[key] = item
    return first


def _isolation(
    history: History, name: str, level: str | None, options: dict[str, object]
) -> tuple[str, dict[str, object]]:
    """Which checker decides an isolation level of a history."""
    transactional = history.functions == ["txn"] or _carries_transactions(history)
    if name == "causal" and transactional:
        return "transactional-causal", options
    if name not in ("list-append", "rw-register"):
        if level and resolve_level(level) != name:
            raise ChoiceError(
                f"consistency model {level!r} is for transactions, and {name!r} is not one of "
                "list-append and rw-register"
            )
        return name, options
    ordered = history.header.get("realtime", True)
    if level is None:
        level = "strict-serializable" if ordered else "serializable"
    level = ",".join(resolve_level(part.strip()) for part in level.split(","))
    if name == "rw-register" and level in (*WEAK, *SOLVED) and not ordered:
        # sessions are part of every level there; rw_register() itself does the same
        return ("transactional-causal" if level == "causal" else level), options
    return name, {**options, "consistency_model": level}


def resolve_level(level: str) -> str:
    """The canonical name of an isolation level.

    Raises:
        ChoiceError: it is unknown.
    """
    if level in WEAK:
        return level
    from checkers.isolation.consistency import canonical

    try:
        return canonical(level)
    except (ValueError, KeyError) as error:
        raise ChoiceError(str(error)) from None


def takers(history: History) -> list[str]:
    """Names of the checkers whose vocabulary has every operation of a history."""
    made = ((name, factory().vocabulary) for name, factory in checkers_by_name().items())
    return [name for name, words in made if words is not None and not foreign(history, words)]


# Inference ----------------------------------------------------------------------------------------


def infer(history: History) -> str:
    """The name of the model a history is of.

    Raises:
        ChoiceError: none or several fit; the message says which and why not the others.
    """
    names = checkers_by_name()
    for field in ("model", "workload"):
        said = history.header.get(field)
        if isinstance(said, str):
            wanted = _SYNONYMS.get(said, said)
            if wanted in names:
                return wanted
    if len(history) == 0:
        raise ChoiceError(
            "the history has no operations, so no model can be inferred; name one with --model"
        )
    fits = [name for name in _fitting(history) if _covers(name, history)]
    if len(fits) == 1:
        return fits[0]
    vocabulary = ", ".join(history.functions)
    if fits:
        raise ChoiceError(
            f"the operations ({vocabulary}) fit several models: {', '.join(fits)}; name one with "
            "--model"
        )
    raise ChoiceError(
        f"no model has the operations {vocabulary}; {_nearest(history)} Name a model with --model."
    )


def _covers(name: str, history: History) -> bool:
    vocabulary = checkers_by_name()[name]().vocabulary
    return vocabulary is None or not foreign(history, vocabulary)


#: Vocabulary -> models, strongest first, for those that the names alone decide.
_BY_NAMES: list[tuple[frozenset[str], frozenset[str], tuple[str, ...]]] = [
    # all of these, and nothing but these and those -> models
    (frozenset({"cas"}), frozenset({"read", "write"}), ("cas-register",)),
    (frozenset({"transfer"}), frozenset({"read"}), ("bank",)),
    (frozenset({"generate"}), frozenset(), ("unique-ids",)),
    (frozenset({"push"}), frozenset({"pop"}), ("stack",)),
    (frozenset({"pop"}), frozenset({"push"}), ("stack",)),
    (frozenset({"insert", "extract"}), frozenset(), ("priority-queue",)),
    (frozenset({"send"}), frozenset({"poll", "txn", "assign", "subscribe", "crash"}), ("log",)),
    (frozenset({"poll"}), frozenset({"send", "txn", "assign", "subscribe", "crash"}), ("log",)),
    (
        frozenset({"get"}),
        frozenset({"put", "append", "delete", "cas", "read", "write"}),
        ("key-value",),
    ),
    (
        frozenset({"put"}),
        frozenset({"get", "append", "delete", "cas", "read", "write"}),
        ("key-value",),
    ),
    (frozenset({"inc"}), frozenset({"read"}), ("monotonic",)),
    (frozenset({"increment"}), frozenset({"read", "add", "decrement"}), ("counter",)),
    (frozenset({"decrement"}), frozenset({"read", "add", "increment"}), ("counter",)),
    (frozenset({"add", "remove"}), frozenset({"contains", "read"}), ("linearizable-set",)),
    (frozenset({"add", "contains"}), frozenset({"remove", "read"}), ("linearizable-set",)),
    (frozenset({"append", "read"}), frozenset(), ("append-list",)),
    (frozenset({"enqueue", "drain"}), frozenset({"dequeue"}), ("total-queue",)),
    (
        frozenset({"enqueue"}),
        frozenset({"dequeue"}),
        ("fifo-queue", "unordered-queue", "total-queue", "queue"),
    ),
]


def _fitting(history: History) -> list[str]:
    """Models whose vocabulary and shapes fit."""
    have = frozenset(history.functions)
    logged = {"txn", "send", "poll", "assign", "subscribe", "crash"}
    if ("txn" in have and have <= logged) or _carries_transactions(history):
        return _transactions(history)
    if have & {"watch"}:
        return ["watch"]
    if have == {"act"} and _owners_act(history):
        return ["ownership"]
    if have & {"campaign", "resign"}:
        return ["election"]
    if have & {"grant", "renew", "keepalive"}:
        return ["lease"]
    if have & {"acquire", "release"}:
        return _locks(history, have)
    for needed, allowed, models in _BY_NAMES:
        if needed <= have and have <= needed | allowed:
            return list(models)
    if have <= {"read", "write"}:
        return _registers(history)
    if have <= {"read", "add"}:
        return _additions(history)
    if "store" in have and have <= {"store", "erase", "read"}:
        return ["siblings"]
    if have <= {"read", "broadcast"}:
        return ["set-full"]
    return []


def _outputs(history: History, f: str) -> list[object]:
    """Some results of acknowledged operations of this name."""
    found = []
    for index, (kind, code) in enumerate(zip(history.type.tolist(), history.f.tolist())):
        if kind == OK and history.functions[code] == f and history.values[index] is not None:
            found.append(history.values[index])
            if len(found) >= 1000:
                break
    return found


def _carries_transactions(history: History) -> bool:
    """Whether all values are lists of micro-operations; names of operations do not matter.

    Not those of a long fork, which has a vocabulary of its own: to write one, and to read a group.
    """
    from checkers.isolation.transaction_table import are_micro_ops

    found_values = [value for value in history.values if value is not None and value != []]
    if not found_values or not all(map(are_micro_ops, found_values)):
        return False
    if not set(history.functions) <= {"read", "write"}:
        return True
    named = zip(map(history.functions.__getitem__, history.f.tolist()), history.values)
    return any(
        [mop[0] for mop in value] != ["w"] if f == "write" else any(mop[0] != "r" for mop in value)
        for f, value in named
        if value
    )


def _transactions(history: History) -> list[str]:
    """By the micro-operations: appends, or reads and writes, of one or of several values each."""
    names: set[Hashable] = set()
    writes: set[Hashable] = set()
    repeated = False
    for index, value in enumerate(history.values):
        if not isinstance(value, list) or history.type[index] == FAIL:
            continue
        for micro in value:
            if not (isinstance(micro, list) and len(micro) in (2, 3)):
                continue
            names.add(micro[0] if isinstance(micro[0], str) else None)
            if micro[0] == "w" and history.type[index] == INVOKE and not repeated:
                write = _plain_write(micro)
                repeated = write in writes
                writes.add(write)
        if "append" in names:
            break
    if "append" in names:
        return ["list-append"]
    if names & {"send", "poll"}:
        return ["log"]
    if "w" not in names:
        return ["rw-register", "long-fork"]
    return ["multi-register"] if repeated else ["rw-register"]


def _plain_write(micro: list[object]) -> object:
    """Key and value of a write, with their types; text where they are not two numbers."""
    if len(micro) == 3 and type(micro[1]) is int and type(micro[2]) is int:
        return micro[1], micro[2]
    return repr(micro[1:])


def _owners_act(history: History) -> bool:
    """Whether acts say whose they are, as owners of partitions do."""
    outputs = _outputs(history, "act")
    return bool(outputs) and all(isinstance(said, dict) and "epoch" in said for said in outputs)


def _locks(history: History, have: frozenset[str]) -> list[str]:
    outputs = [value for value in _outputs(history, "acquire") if isinstance(value, dict)]
    if any(name in value for value in outputs for name in ("ttl_ns", "ttl_ms", "ttl_s", "ttl")):
        return ["lease"]
    if "write" in have or any("token" in value for value in outputs):
        return ["lock"]
    return ["mutex"] if have <= {"acquire", "release"} else []


def _registers(history: History) -> list[str]:
    """Reads and writes: of one value, of lists of elements, or of groups of keys."""
    outputs = _outputs(history, "read")
    lists = [value for value in outputs if isinstance(value, list)]
    if lists and len(lists) == len(outputs):
        if any(value and all(_is_micro(item) for item in value) for value in lists):
            return ["long-fork"]
        return ["causal-reverse"]
    if outputs and all(isinstance(value, dict) for value in outputs):
        if "write" not in history.functions:
            return ["bank"]
        written = [
            value
            for value, kind, f in zip(history.values, history.type.tolist(), history.f.tolist())
            if kind == INVOKE and history.functions[f] == "write"
        ]
        grouped = all(isinstance(value, (dict, list)) for value in written)
        return ["multi-register"] if grouped else ["register"]
    return ["register"]


def _is_micro(item: object) -> bool:
    return isinstance(item, list) and len(item) == 3 and item[0] == "r"


def _additions(history: History) -> list[str]:
    """Additions to a set or to a number, which the reads tell."""
    outputs = _outputs(history, "read")
    if any(isinstance(value, list) for value in outputs):
        return ["set-full"]
    if outputs and all(isinstance(value, (int, float)) for value in outputs):
        return _counters(history)
    return ["counter", "set", "set-full"]


def _counters(history: History) -> list[str]:
    """Of a counter whose replicas need time, as Maelstrom's, the final reads alone are checked.

    Such a file says which those are; negative additions are a hint of one, but no more.
    """
    if "final_ns" in history.header:
        return ["pn-counter"]
    negative = any(
        isinstance(value, (int, float)) and value < 0
        for value, f in zip(history.values, history.f.tolist())
        if history.functions[f] == "add"
    )
    return ["counter", "pn-counter"] if negative else ["counter"]


def _nearest(history: History) -> str:
    """Why the models nearest in vocabulary do not fit, as sentences."""
    have = frozenset(history.functions)
    parts = []
    for needed, allowed, models in _BY_NAMES:
        if not needed & have:
            continue
        extra, missing = sorted(have - needed - allowed), sorted(needed - have)
        why = [f"does not have {', '.join(extra)}"] if extra else []
        why += [f"needs {', '.join(missing)}"] if missing else []
        parts.append(f"{models[0]} {' and '.join(why)}")
    return "; ".join(parts[:3]) + "." if parts else "none comes near."

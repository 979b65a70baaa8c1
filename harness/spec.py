"""TestSpec: everything a run depends on, in one struct.

The command line is made from it (each field's flag and help text are in its annotation), a run
directory's ``spec.json`` is it, ``harness replay`` runs it again, and the Python API fills it in.
:func:`validated` is the border: after it every value is one that a run can use, or there was a
sentence about it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar

import msgspec

from harness.errors import UsageError
from harness.nemesis.base import Plan
from harness.timings import (
    Timings,
    checked,
    in_seconds,
    parse_duration,
    parse_range,
    require_amount,
)

#: More nodes than this is a typing mistake on one machine.
NODES_MAX = 99

#: More workers than this is, too.
CONCURRENCY_MAX = 10_000


def _flag(text: str, *names: str, group: str = "") -> Any:
    """Annotation of a field that is a flag of the command line; its name is the field's if none."""
    return msgspec.Meta(description=text, extra={"flags": names, "group": group})


#: the end of the help of a time that a database may declare
_OWN = "[default: the database's own, else {}]"


class TestSpec(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=False):
    """A test: what runs where, against which faults, from which seed."""

    __test__: ClassVar[bool] = False  # pytest must not take it for a test

    db: Annotated[
        str, _flag("Database: a name from `harness list databases`, or module:Class.")
    ] = "reference"
    workload: Annotated[
        str, _flag("Workload: a name from `harness list workloads`, or module:function.")
    ] = "register"
    nemesis: Annotated[
        tuple[str, ...],
        _flag("Faults, comma separated: names from `harness list nemeses`, or module:function."),
    ] = ()
    env: Annotated[str, _flag("Where nodes run: a name from `harness list environments`.")] = (
        "local"
    )
    nodes: Annotated[
        tuple[str, ...], _flag("How many nodes, or their names: `5`, or `n1,n2,n3`.")
    ] = ("n1", "n2", "n3")
    time_limit_s: Annotated[
        float, _flag("Length of the main phase: `30`, `90s`, `1m30s`.", "--time-limit")
    ] = 30.0
    rate_hz: Annotated[
        float | None,
        _flag("Operations per second over all workers; the workload's own if not given.", "--rate"),
    ] = None
    concurrency: Annotated[
        int, _flag("Workers, each with a client of its own; `2n` is two per node.")
    ] = 10
    seed: Annotated[
        int | None, _flag("Seed of everything random; drawn and printed if not given.")
    ] = None
    test_count: Annotated[
        int, _flag("Run this many seeds, one after the other; the worst verdict counts.")
    ] = 1
    ablate: Annotated[
        tuple[str, ...],
        _flag("Run the reference cluster with a decision removed: `harness list ablations`."),
    ] = ()
    nemesis_interval_s: Annotated[
        float | None,
        _flag(f"Mean time between faults of a nemesis. {_OWN.format('5s')}", "--nemesis-interval"),
    ] = None
    fault_duration_s: Annotated[
        tuple[float, ...],
        _flag(
            "How long each fault lasts, `5s` or `2s..8s`. "
            + _OWN.format("about half the interval"),
            "--fault-duration",
        ),
    ] = ()
    recovery_s: Annotated[
        float | None,
        _flag(
            f"How long nodes may take to serve after healing. {_OWN.format('20s')}", "--recovery"
        ),
    ] = None
    quiesce_s: Annotated[
        float | None,
        _flag(f"Quiet time before the final phase. {_OWN.format('2s')}", "--quiesce"),
    ] = None
    final_limit_s: Annotated[
        float | None,
        _flag(
            f"How long the final phase may take. {_OWN.format('6 operation timeouts')}",
            "--final-limit",
        ),
    ] = None
    keys: Annotated[
        int | None, _flag("Keys the workload uses; the workload's own number if not given.")
    ] = None
    op_timeout_s: Annotated[
        float, _flag("How long a client waits for an answer.", "--op-timeout")
    ] = 5.0
    consensus: Annotated[str, _flag("Consensus of the reference cluster.")] = "raft"
    client: Annotated[str, _flag("Client: module:Class; the database's own if not given.")] = ""
    db_options: Annotated[
        dict[str, Any],
        _flag(
            "Option of the database, `name=value`; may be given again. `harness list databases -v` "
            "names them and their values.",
            "--db-option",
        ),
    ] = {}
    workload_options: Annotated[
        dict[str, Any],
        _flag("Option of the workload, `name=value`; may be given again.", "--workload-option"),
    ] = {}
    env_options: Annotated[
        dict[str, Any],
        _flag("Option of the environment, `name=value`; may be given again.", "--env-option"),
    ] = {}
    check_time_s: Annotated[float, _flag("How long the checkers may take.", "--check-time")] = 60.0
    store: Annotated[str, _flag("Directory of run directories.")] = "store"
    name: Annotated[str, _flag("Name of the test, and of its directory in the store.")] = ""
    leave_running: Annotated[
        bool, _flag("Leave the database running afterwards, for a look at it.")
    ] = False
    no_report: Annotated[bool, _flag("Write no report.html, only results.json.")] = False
    quiet: Annotated[bool, _flag("Print the verdict only.", "--quiet", "-q")] = False
    plans: tuple[Plan, ...] | None = None


def flags(field: msgspec.structs.FieldInfo) -> tuple[tuple[str, ...], str] | None:
    """The command-line names and help text of a field; None if it has none."""
    kind = field.type
    meta = next((m for m in getattr(kind, "__metadata__", ()) if isinstance(m, msgspec.Meta)), None)
    if meta is None or meta.extra is None:
        return None
    names = meta.extra["flags"] or (f"--{field.name.replace('_', '-')}",)
    return tuple(names), meta.description or ""


def flag_of(name: str) -> str:
    """The flag of a field by the field's name: ``--time-limit`` of ``time_limit_s``."""
    field = next(each for each in msgspec.structs.fields(TestSpec) if each.name == name)
    found = flags(field)
    return name if found is None else found[0][0]


def read_fields(fields: dict[str, Any], nodes: int) -> dict[str, Any]:
    """Fields of a TestSpec with durations and ``2n`` read from text; other values as they are.

    Args:
        fields: some of the fields, by name.
        nodes: how many nodes the test has.

    Raises:
        UsageError: a text is no duration, or no number of workers.
    """
    read = dict(fields)
    for name, value in fields.items():
        if name == "fault_duration_s":
            read[name] = parse_range(flag_of(name), value) if value else ()
        elif name.endswith("_s") and isinstance(value, str):
            read[name] = parse_duration(flag_of(name), value)
        elif name == "concurrency" and isinstance(value, str):
            read[name] = parse_concurrency(value, nodes)
    return read


def parse_concurrency(text: str, nodes: int) -> int:
    """A number of workers from ``10``, or from ``2n``: two for each node.

    Raises:
        UsageError: it is neither.
    """
    found = re.fullmatch(r"\s*([+-]?\d+)\s*(n?)\s*", text)
    if found is None:
        raise UsageError(
            f"--concurrency is {text!r}; it should be a number of workers, or as in 2n so many for "
            "each node"
        )
    return int(found[1]) * (nodes if found[2] else 1)


def validated(spec: TestSpec) -> TestSpec:
    """The spec with names completed, or a sentence about what is wrong with it.

    Raises:
        UsageError: naming the argument, with its value.
    """
    _positive("--time-limit", spec.time_limit_s, "seconds")
    for name in Timings.__struct_fields__:
        if getattr(spec, name) not in (None, ()):
            checked(flag_of(name), name, getattr(spec, name))
    _positive("--op-timeout", spec.op_timeout_s, "seconds")
    _positive("--check-time", spec.check_time_s, "seconds")
    if spec.rate_hz is not None:
        _positive("--rate", spec.rate_hz, "operations per second")
    _between("--concurrency", spec.concurrency, 1, CONCURRENCY_MAX, "worker")
    _between("--test-count", spec.test_count, 1, 1_000_000, "run")
    if spec.keys is not None:
        _between("--keys", spec.keys, 1, 10_000_000, "key")
    if spec.seed is not None and not 0 <= spec.seed < 2**63:
        raise UsageError(f"--seed is {spec.seed}; it should be from 0 to 2^63 - 1")
    if spec.env == "ssh":
        spec = _with_hosts(spec)
    _check_nodes(spec.nodes)
    spec = msgspec.structs.replace(spec, ablate=tuple(_ablations(spec)))
    return msgspec.structs.replace(spec, name=spec.name or default_name(spec))


def default_name(spec: TestSpec) -> str:
    """A test's name from what it is: database and ablations, workload, nemeses."""
    database = "+".join([_base(spec.db), *spec.ablate])
    return "-".join([database, _base(spec.workload), *map(_fault_name, spec.nemesis)])


def _fault_name(text: str) -> str:
    """``kill:one`` as ``kill-one``; a user's own ``module:function`` as ``function``."""
    from harness.nemesis import NEMESES

    built_in = text.partition(":")[0].partition("-")[0] in NEMESES
    return text.replace(":", "-") if built_in else _base(text)


def _base(name: str) -> str:
    return name.rpartition(":")[2] if re.match(r"[\w.]+:\w", name) else name


def _positive(flag: str, value: float, what: str) -> None:
    if not math.isfinite(value) or value <= 0:
        raise UsageError(f"{flag} is {value:g}; it should be a positive number of {what}")
    require_amount(flag, value, what)


def _between(flag: str, value: int, low: int, high: int, what: str) -> None:
    if value < low:
        raise UsageError(f"{flag} is {value}; a test needs at least {low} {what}")
    if value > high:
        raise UsageError(f"{flag} is {value}; more than {high} is surely a mistake")


def _check_nodes(nodes: tuple[str, ...]) -> None:
    if not nodes:
        raise UsageError("--nodes names no node; a test needs at least 1")
    for name in nodes:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", name):
            raise UsageError(
                f"--nodes has {name!r}, which is no name for a node: letters, digits, dots and "
                "dashes, as in n1,n2,n3"
            )
    twice = sorted({name for name in nodes if nodes.count(name) > 1})
    if twice:
        raise UsageError(f"--nodes names {twice[0]!r} twice")


def _with_hosts(spec: TestSpec) -> TestSpec:
    """Nodes given as ``user@host:port`` become hosts, and the nodes are called n1, n2, ..."""
    if not any(letter in name for name in spec.nodes for letter in "@:[") or not spec.nodes:
        return spec
    if spec.env_options.get("hosts"):
        raise UsageError(
            f"--nodes has {spec.nodes[0]!r}, and --env-option hosts is given too; give the hosts "
            "in one of them"
        )
    names = tuple(f"n{number}" for number in range(1, len(spec.nodes) + 1))
    options = {**spec.env_options, "hosts": ",".join(spec.nodes)}
    return msgspec.structs.replace(spec, nodes=names, env_options=options)


def _ablations(spec: TestSpec) -> list[str]:
    if not spec.ablate:
        return []
    if spec.db != "reference":
        raise UsageError(
            f"--ablate removes a decision of the reference cluster, and the database is {spec.db!r}"
        )
    from cluster.ablations.registry import UnknownAblation, find

    try:
        return [find(name).id for name in spec.ablate]
    except UnknownAblation as error:
        hint = "" if "mean" in str(error) else "; `harness list ablations` names them"
        raise UsageError(f"--ablate: {error}{hint}") from None


def parse_nodes(text: str) -> tuple[str, ...]:
    """Node names from ``3`` or ``n1,n2,n3``.

    Raises:
        UsageError: neither.
    """
    text = text.strip()
    if re.fullmatch(r"[+-]?\d+", text):
        count = int(text)
        if count < 1:
            raise UsageError(f"--nodes is {count}; a test needs at least 1 node")
        if count > NODES_MAX:
            raise UsageError(f"--nodes is {count}; at most {NODES_MAX} nodes are possible")
        return tuple(f"n{number}" for number in range(1, count + 1))
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    # Hosts to log in to are for the environment ssh to read; they get names in validated().
    _check_nodes(names if "@" not in text else ("n1",))
    return names


def parse_list(texts: str | Iterable[str]) -> tuple[str, ...]:
    """Names from ``a,b`` or several such; empty names are dropped, order is kept."""
    given = [texts] if isinstance(texts, str) else list(texts)
    names = [name.strip() for text in given for name in text.split(",")]
    return tuple(dict.fromkeys(name for name in names if name and name != "none"))


def parse_options(flag: str, texts: Iterable[str]) -> dict[str, Any]:
    """Options from ``name=value``; a value that is JSON is what it says, else it is text.

    A duration for a name that ends in ``_s`` becomes seconds: ``ttl_s=1m30s`` is 90.

    Raises:
        UsageError: a text without ``=``, or two that give one option two values.
    """
    options: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"{flag} is {text!r}; it should be name=value")
        key = name.strip().replace("-", "_")
        seconds = in_seconds(value) if key.endswith("_s") else None
        said = _value(value.strip()) if seconds is None else seconds
        if options.setdefault(key, said) != said:
            raise UsageError(f"{flag} gives {key} twice: {options[key]!r} and {said!r}")
    return options


def _value(text: str) -> Any:
    words = {"true": True, "false": False, "yes": True, "no": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return text


def command_line(spec: TestSpec, *, program: str = "harness test") -> str:
    """The command that runs a spec: every field that is not as by default."""
    import shlex

    words = [program]
    plain = TestSpec()
    for field in msgspec.structs.fields(TestSpec):
        flag = flags(field)
        value = getattr(spec, field.name)
        if flag is None or value == getattr(plain, field.name):
            continue
        if field.name == "name" and value == default_name(spec):
            continue
        if field.name in ("test_count", "quiet", "no_report", "leave_running"):
            continue
        words.extend(_words(flag[0][0], value))
    return " ".join([words[0], *map(shlex.quote, words[1:])])


def _words(flag: str, value: Any) -> list[str]:
    if value is True:
        return [flag]
    if isinstance(value, tuple) and value and isinstance(value[0], float):
        return [flag, "..".join(f"{end:g}s" for end in dict.fromkeys(value))]
    if isinstance(value, tuple):
        return [flag, ",".join(value)]
    if isinstance(value, Mapping):
        pairs = [(n, v if isinstance(v, str) else _json(v)) for n, v in value.items()]
        return [word for name, text in pairs for word in (flag, f"{name}={text}")]
    return [flag, f"{value:g}" if isinstance(value, float) else str(value)]


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def load_spec(data: bytes) -> TestSpec:
    """A TestSpec from ``spec.json``.

    Raises:
        UsageError: it is none; fields this version does not know are left out.
    """
    try:
        return msgspec.json.decode(data, type=TestSpec, strict=False)
    except msgspec.ValidationError as error:
        raise UsageError(f"spec.json is no test specification: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"spec.json is no JSON: {error}") from None

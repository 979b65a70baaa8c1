"""The Python API: run a test with objects of one's own.

    from harness import run

    outcome = run(db=MyKV(), client=KVClient, workload=tickets(), nemesis="partition", env="local")
    outcome.assert_valid()

Every argument may be a name as on the command line, or the thing itself. Further keywords are
fields of :class:`harness.spec.TestSpec`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict, Unpack

import msgspec

from checkers.core.wording import did_you_mean
from harness import runner
from harness.databases.base import Client
from harness.errors import UsageError
from harness.nemesis.base import Nemesis, Plan
from harness.resolve import SomeClient, SomeDB, SomeWorkload
from harness.runner import RunOutcome
from harness.spec import TestSpec, parse_list, parse_nodes, read_fields

#: seconds, or a text such as ``1m30s``
Duration = float | str


class Fields(TypedDict, total=False):
    """Further keywords of :func:`run`: the other fields of :class:`harness.spec.TestSpec`."""

    env: str
    time_limit_s: Duration
    rate_hz: float | None
    concurrency: int | str
    seed: int | None
    test_count: int
    ablate: str | Sequence[str]
    nemesis_interval_s: Duration | None
    fault_duration_s: Duration | Sequence[float]
    recovery_s: Duration | None
    quiesce_s: Duration | None
    final_limit_s: Duration | None
    keys: int | None
    op_timeout_s: Duration
    consensus: str
    db_options: Mapping[str, Any]
    workload_options: Mapping[str, Any]
    env_options: Mapping[str, Any]
    check_time_s: Duration
    store: str
    name: str
    leave_running: bool
    no_report: bool
    quiet: bool
    plans: Sequence[Plan] | None


class Arguments(Fields, total=False):
    """All keywords of :func:`run` that say what to run: for callers that pass them on."""

    db: SomeDB | str | None
    client: Client | SomeClient | str | None
    workload: SomeWorkload | str | None
    nemesis: str | Sequence[str | Nemesis]
    nodes: int | str | Sequence[str]
    say: Callable[[str], None] | None


def run(
    *,
    db: SomeDB | str | None = None,
    client: Client | SomeClient | str | None = None,
    workload: SomeWorkload | str | None = None,
    nemesis: str | Sequence[str | Nemesis] = (),
    nodes: int | str | Sequence[str] = 3,
    replay: str | None = None,
    say: Callable[[str], None] | None = None,
    **fields: Unpack[Fields],
) -> RunOutcome:
    """Run one test and return its :class:`harness.runner.RunOutcome`.

    Args:
        db: a database, its class, or its name; the reference cluster if not given.
        client: a client class (each worker gets its own), an instance to take the class of, or
            ``module:Class``; the database's own if not given.
        workload: a Workload, a function that returns one, or a name.
        nemesis: names separated by commas, or a list of names and nemesis objects.
        nodes: how many, or which.
        replay: the command to show as the way to run this again.
        say: called with each line for the user; None prints them.
        fields: see :class:`Fields`.

    Raises:
        UsageError: an argument is wrong.
        HarnessError: the run broke.
    """
    names: dict[str, Any] = {}
    objects: dict[str, Any] = {}
    for name, given in (("db", db), ("workload", workload)):
        if isinstance(given, str):
            names[name] = given
        elif given is not None:
            objects[name] = given
    if isinstance(client, str):
        names["client"] = client
    elif client is not None:
        objects["client"] = client if _makes(client) else type(client)
    if isinstance(nemesis, str):
        names["nemesis"] = parse_list(nemesis)
    else:
        objects["nemeses"] = list(nemesis)
    spec = _spec(nodes, {**fields, **names})
    command = replay or (None if not objects else "run this test file again")
    return runner.run(spec, say=say, command=command, **objects)


def _makes(client: Any) -> bool:
    return inspect.isclass(client) or inspect.isroutine(client)


def _spec(nodes: int | str | Sequence[str], fields: dict[str, Any]) -> TestSpec:
    known = [field.name for field in msgspec.structs.fields(TestSpec)]
    for name in fields:
        if name not in known:
            raise UsageError(f"run has no argument {name!r}; {did_you_mean(name, known)}")
    named = parse_nodes(str(nodes)) if isinstance(nodes, (int, str)) else tuple(nodes)
    for name in ("nemesis", "ablate"):
        if isinstance(fields.get(name), str):
            fields[name] = parse_list(fields[name])
    fields = read_fields(fields, len(named))
    try:
        return msgspec.convert({**fields, "nodes": named}, TestSpec)
    except msgspec.ValidationError as error:
        raise UsageError(f"run: {error}") from None

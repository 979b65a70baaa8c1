"""Resolving a spec: names and objects become a database, clients, a workload and nemeses.

Everything is found, built and looked at here before a run has left any trace: a name that is
unknown, an option that is not taken, a thing that lacks a method or does not fit the environment
gets its sentence, and no run directory is made.

For :mod:`harness.runner`.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import msgspec

from harness import registry
from harness.claims import OPTION, Claim, claim_of, level_claimed
from harness.databases.base import (
    DB,
    BringsClient,
    Client,
    NeedsImage,
    Operations,
    ReadsWithin,
    RunsIn,
)
from harness.environments.base import Environment, Prepared
from harness.errors import Named, UsageError
from harness.nemesis.base import Nemesis
from harness.spec import TestSpec, validated
from harness.timings import Timings
from harness.timings import resolve as resolve_timings
from workloads import Workload

#: what stands for a database, for clients and for a workload: the thing, or what makes it
SomeDB = DB | Callable[..., DB]
SomeClient = Callable[..., Client]
SomeWorkload = Workload | Callable[..., Workload]

_CLIENT_SHAPE = "a client has open(node), invoke(op) and perhaps close()"
_DB_SHAPE = "a database has setup, start, ready and teardown, each of one node"


class Parts(msgspec.Struct):
    """The resolved parts of a spec.

    Args:
        db: the database.
        make_client: makes its clients.
        workload: what to do and how to check it.
        nemeses: the faults' kinds for which faults are planned from the seed.
        driven: those that the workload's own generator asks for, by the name it uses.
        timings: how long things take.
        claim: what the transactions are held to.
    """

    db: DB
    make_client: Callable[[], Client]
    workload: Workload
    nemeses: list[Nemesis]
    driven: dict[str, Nemesis] = {}
    timings: Timings = Timings()
    claim: Claim = Claim()

    @property
    def by_name(self) -> dict[str, Nemesis]:
        """Every nemesis of the run, by the name its faults have."""
        return {**{nemesis.name: nemesis for nemesis in self.nemeses}, **self.driven}


class Resolved(msgspec.Struct):
    """A run that can be made.

    Args:
        spec: the spec: valid, with its seed and the names of what was given as objects.
        parts: what it stands for.
    """

    spec: TestSpec
    parts: Parts

    @property
    def seed(self) -> int:
        """The run's seed."""
        assert self.spec.seed is not None
        return self.spec.seed

    def environment(self, run_dir: Path) -> Environment:
        """The run's environment, not set up yet; refuses nemeses it has no abilities for.

        Raises:
            UsageError: it is unknown, or cannot do what a nemesis needs.
        """
        return _environment(self.spec, self.seed, run_dir, self.parts)

    def require_options(self) -> None:
        """See that the environment takes its options and can do what nemeses need; sets up nothing.

        Raises:
            UsageError: as :meth:`environment`.
        """
        with tempfile.TemporaryDirectory() as nowhere:
            _made_environment(self.spec, self.seed, Path(nowhere), self.parts)


def resolve(
    spec: TestSpec,
    *,
    db: SomeDB | None = None,
    client: SomeClient | None = None,
    workload: SomeWorkload | None = None,
    nemeses: Sequence[str | Nemesis] | None = None,
) -> Resolved:
    """Find or take what a run is made of, and draw its seed if it has none.

    Args:
        spec: a spec; names in it are used where no object is given.
        db, client, workload, nemeses: objects, classes or functions that replace the spec's names.

    Raises:
        UsageError: the spec is wrong, a name is unknown, or a thing is not what it should be.
    """
    spec = validated(spec)
    seed = draw_seed() if spec.seed is None else spec.seed
    spec = msgspec.structs.replace(spec, seed=seed)
    parts = _parts(spec, seed, db=db, client=client, workload=workload, nemeses=nemeses)
    return Resolved(_named(spec, db, parts), parts)


def draw_seed() -> int:
    """A random seed."""
    return random.SystemRandom().randrange(2**31)


def _named(spec: TestSpec, db: SomeDB | None, parts: Parts) -> TestSpec:
    """The spec with the names of objects given in place of names."""
    changes: dict[str, Any] = {"nemesis": spec.nemesis or tuple(n.name for n in parts.nemeses)}
    if db is not None:
        changes["db"] = db.__name__ if isinstance(db, Named) else type(db).__name__
    changes["workload"] = spec.workload if parts.workload.name == "" else parts.workload.name
    if spec.workload != "register" and ":" in spec.workload:
        changes["workload"] = spec.workload
    return msgspec.structs.replace(spec, **changes)


def _parts(
    spec: TestSpec,
    seed: int,
    *,
    db: SomeDB | None,
    client: SomeClient | None,
    workload: SomeWorkload | None,
    nemeses: Sequence[str | Nemesis] | None,
) -> Parts:
    made_workload = _workload(spec, seed, workload)
    made_db = _database(spec, seed, db, made_workload.objects)
    made_workload, claim = _claiming(spec, seed, workload, made_workload, made_db)
    made_workload = _judged_by_its_reads(made_workload, made_db)
    make_client = _client_maker(spec, seed, made_db, client, made_workload.objects)
    _check_operations(spec, made_db, make_client, made_workload)
    _check_environment(spec, made_db)
    from harness.nemesis import compose

    composed = compose(list(spec.nemesis) if nemeses is None else list(nemeses))
    if spec.plans is None:
        _check_nodes(spec, composed)
    driven = _driven(made_workload, {nemesis.name: nemesis for nemesis in composed})
    timings = resolve_timings(spec, made_db)
    return Parts(made_db, make_client, made_workload, composed, driven, timings, claim)


def _check_nodes(spec: TestSpec, nemeses: Sequence[Nemesis]) -> None:
    """That each nemesis can plan faults for the spec's nodes."""
    from harness.nemesis.common import Planner

    for nemesis in nemeses:
        if isinstance(nemesis, Planner):
            nemesis.fits(spec.nodes)


def _judged_by_its_reads(workload: Workload, db: DB) -> Workload:
    """The workload with the checker for reads as old as the database's may be."""
    within_s = db.reads_within_s if isinstance(db, ReadsWithin) else 0.0
    if not within_s or workload.judge_old_reads is None:
        return workload
    checker = workload.judge_old_reads(within_s)
    return msgspec.structs.replace(
        workload, checker=checker, model="bounded-staleness", reads_within_s=within_s
    )


def _driven(workload: Workload, planned: dict[str, Nemesis]) -> dict[str, Nemesis]:
    """The nemeses that the workload's generator asks for itself, by the names it uses."""
    from harness.nemesis import compose
    from workloads import generator as gen

    asked = dict.fromkeys([*workload.nemeses, *gen.faults_named(workload.generator)])
    return {name: planned.get(name) or compose([name])[0] for name in asked}


def _database(spec: TestSpec, seed: int, given: SomeDB | None, objects: str) -> DB:
    what = f"database {spec.db!r}"
    has_log = spec.db == "reference" and spec.db_options.get("role", "core") in ("core", "data")
    # The history, the report and simulated nodes go by the option of the command line.
    given_twice = next((name for name in spec.db_options if name in _OF_THE_RUN), "")
    if has_log and given_twice:
        raise UsageError(
            f"--db-option {given_twice} would hold for a part of the run only; "
            f"use {_OF_THE_RUN[given_twice]}"
        )
    found = registry.find("database", spec.db) if given is None else given
    offered = {
        "consensus": spec.consensus,
        "ablate": spec.ablate,
        "ablations": spec.ablate,
        "seed": seed,
        "nodes": spec.nodes,
        "env": spec.env,
        "objects": objects,
        "op_timeout_s": spec.op_timeout_s,
    }
    made: DB = registry.build(what, found, options=spec.db_options, offered=offered)
    registry.require(what, made, ("setup", "start", "ready", "teardown"), _DB_SHAPE)
    return made


def _claiming(
    spec: TestSpec, seed: int, given: SomeWorkload | None, made: Workload, db: DB
) -> tuple[Workload, Claim]:
    """The workload, built anew if the database names what is claimed; and the claim."""
    named = level_claimed(spec, db, _found(spec, given))
    if named:
        made = _workload(spec, seed, given, claimed=named)
    return made, claim_of(spec, db, made, named)


def _found(spec: TestSpec, given: SomeWorkload | None) -> Any:
    return registry.find("workload", spec.workload) if given is None else given


def _workload(
    spec: TestSpec, seed: int, given: SomeWorkload | None, *, claimed: tuple[str, ...] = ()
) -> Workload:
    what = f"workload {spec.workload!r}"
    found = _found(spec, given)
    offered: dict[str, Any] = {"concurrency": spec.concurrency, "nodes": spec.nodes, "seed": seed}
    if spec.keys is not None:
        offered["keys"] = spec.keys
    if spec.rate_hz is not None:
        offered["rate_hz"] = spec.rate_hz
    if claimed:
        offered[OPTION] = claimed
    made = registry.build(what, found, options=spec.workload_options, offered=offered)
    if not isinstance(made, Workload):
        raise UsageError(f"{what} gave {made!r}; its function should return a workloads.Workload")
    from workloads import generator as gen

    name = made.name or (found.__name__ if isinstance(found, Named) else spec.workload)
    try:
        generator = gen.lift(made.generator)
        gen.lift(made.final)
    except gen.GeneratorError as error:
        raise UsageError(f"{what}: {error}") from error
    if spec.rate_hz is not None and "rate_hz" not in _parameters(found):
        generator = gen.rate(spec.rate_hz, generator)
    if spec.keys is not None and "keys" not in _parameters(found):
        raise UsageError(f"--keys is {spec.keys}, and {what} has no option keys")
    return msgspec.structs.replace(made, name=name, generator=generator)


def _parameters(function: Any) -> set[str]:
    import inspect

    try:
        return set(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return set()


def _client_maker(
    spec: TestSpec, seed: int, db: DB, given: SomeClient | None, objects: str
) -> Callable[[], Client]:
    what = f"client {spec.client!r}" if spec.client else "the client"
    made_of: Any = given
    if made_of is None and spec.client:
        made_of = registry.load(spec.client, what="client", user=True)
    if made_of is None:
        made_of = db.client if isinstance(db, BringsClient) else None
        what = f"client of the database {spec.db!r}"
    if made_of is None:
        raise UsageError(
            f"database {spec.db!r} brings no client; give --client module:Class, "
            f"and {_CLIENT_SHAPE}"
        )
    if not callable(made_of):
        raise UsageError(f"{what} is {made_of!r}; give its class, so that each worker gets its own")
    offered: dict[str, Any] = {"seed": seed, "objects": objects}
    offered |= {"op_timeout_s": spec.op_timeout_s, "timeout_s": spec.op_timeout_s}

    def make() -> Client:
        made: Client = registry.build(what, made_of, offered=offered)
        return made

    registry.require(what, make(), ("open", "invoke"), _CLIENT_SHAPE)
    return make


def _check_operations(
    spec: TestSpec, db: DB, make_client: Callable[[], Client], workload: Workload
) -> None:
    """Refuse a database whose client says that it lacks an operation of the workload."""
    declared = (each for each in (make_client(), db) if isinstance(each, Operations))
    known = next((each.operations for each in declared if each.operations), None)
    if known is None:
        return
    lacking = sorted(set(workload.operations) - set(known))
    if lacking:
        raise UsageError(
            f"workload {workload.name!r} needs the operation {lacking[0]!r}, which the client of "
            f"{spec.db!r} does not have; it has: {', '.join(sorted(known))}"
        )


def _check_environment(spec: TestSpec, db: DB) -> None:
    fits = db.environments if isinstance(db, RunsIn) else None
    if fits is not None and spec.env not in fits:
        raise UsageError(
            f"database {spec.db!r} does not run in the environment {spec.env!r}; it runs in: "
            f"{', '.join(fits)}"
        )
    image = db.image if isinstance(db, NeedsImage) else ""
    if spec.env == "docker" and image and "image" not in spec.env_options:
        raise UsageError(
            f"database {spec.db!r} needs an image that holds it, and the harness's own image does "
            f"not; give one that is on this machine: --env-option image={image} (any image with "
            "its programs and a shell will do)"
        )


def _environment(spec: TestSpec, seed: int, run_dir: Path, parts: Parts) -> Environment:
    env, needs = _made_environment(spec, seed, run_dir, parts)
    if isinstance(env, Prepared):
        env.prepare(needs)
    return env


#: option of the reference cluster that concerns more of a run than its database -> what gives it
_OF_THE_RUN = {"ablate": "--ablate", "ablations": "--ablate", "consensus": "--consensus"}
#: option of the simulated environment that the run itself gives -> what says so
_SAID_BY = {
    "ablate": "--ablate",
    "config": "the --db-option of each setting",
    "consensus": "--consensus",
    "role": "--db-option role",
}


def _made_environment(
    spec: TestSpec, seed: int, run_dir: Path, parts: Parts
) -> tuple[Environment, Collection[str]]:
    """The environment with nothing looked for yet, and what nemeses need of it."""
    from harness.nemesis import require

    options = dict(spec.env_options)
    if spec.env == "sim":
        if said := next((name for name in options if name in _SAID_BY), ""):
            raise UsageError(f"--env-option {said} has no effect here; use {_SAID_BY[said]}")
        options |= {"ablate": spec.ablate, "consensus": spec.consensus}
        options["role"] = getattr(parts.db, "role", "core")
        options["config"] = getattr(parts.db, "node_settings", {})
    factory = registry.find("environment", spec.env)
    env: Environment = factory(nodes=list(spec.nodes), run_dir=run_dir, seed=seed, options=options)
    needs = require(list(parts.by_name.values()), env, parts.db)
    return env, needs

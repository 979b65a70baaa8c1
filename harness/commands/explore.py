"""``harness explore``: many seeds in simulation, each violation kept for a look."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from harness.campaign.explore import CRASH, Job, SeedOutcome, job_of
from harness.campaign.explore import explore as campaign
from harness.errors import UsageError
from harness.spec import parse_list
from harness.timings import checked

Workload = Annotated[
    str,
    Parameter(
        name="--workload",
        help="Some of register,append,mixed; all if not given. Role data: transactions.",
    ),
]
Ablate = Annotated[
    list[str] | None, Parameter(name="--ablate", help="Ablations to run with.", negative=())
]
Nemesis = Annotated[
    str,
    Parameter(name="--nemesis", help="Kinds of faults; each seed draws its own if not given."),
]
Nodes = Annotated[
    int,
    Parameter(
        name="--nodes", help="How many nodes; drawn (3 to 5, role gossip 3 to 50) if not given."
    ),
]
Jobs = Annotated[
    int | None, Parameter(name=("--jobs", "-j"), help="Processes; one per core if not given.")
]

Role = Annotated[
    str,
    Parameter(name="--role", help="What the nodes are: core, paxos, data, gossip or leaderless."),
]


def explore(
    *,
    seeds: Annotated[int, Parameter(name="--seeds", help="How many seeds.")] = 200,
    first_seed: Annotated[int, Parameter(name="--first-seed", help="The first of them.")] = 0,
    ablate: Ablate = None,
    nemesis: Nemesis = "",
    workload: Workload = "",
    role: Role = "",
    nodes: Nodes = 0,
    profile: Annotated[
        str, Parameter(name="--profile", help="Some of calm,harsh; both if not given.")
    ] = "",
    consensus: Annotated[
        str, Parameter(name="--consensus", help="Consensus of the reference cluster.")
    ] = "raft",
    duration: Annotated[
        str, Parameter(name="--duration", help="Virtual time under faults per seed.")
    ] = "6s",
    jobs: Jobs = None,
    stop: Annotated[
        bool, Parameter(name="--stop", negative=(), help="Stop at the first violation.")
    ] = False,
    store: Annotated[
        str, Parameter(name="--store", help="Where runs that are not valid are kept.")
    ] = "store",
    keep: Annotated[
        int, Parameter(name="--keep", help="Most runs to keep, each with a report; 0 for none.")
    ] = 20,
) -> int:
    """Run many seeds in simulation, each with a random profile of faults, on all cores.

    A seed is checked by invariants after every event, by the checker of the client history, by
    whether the healed system lives, and by a trial of availability. One in which almost nothing
    completed does not count, and the last line says how many did not. Invariants stay on with
    `--ablate`.

    Each seed that is not valid is printed with what was found, its report, and the command that
    runs it again. Exit codes are those of `harness test`: 2 if no seed counts.
    """
    _check(seeds, first_seed=first_seed, keep=keep, nodes=nodes, jobs=jobs)
    ablations = parse_list(ablate or ())
    duration_s = checked("--duration", "duration_s", duration)
    job = job_of(
        ablations=ablations,
        nemesis=nemesis,
        duration_s=duration_s,
        consensus=consensus,
        workload=workload,
        nodes=nodes,
        profile=profile,
        role=role,
    )
    found = campaign(
        seeds=range(first_seed, first_seed + seeds),
        job=job,
        workers=jobs,
        stop_at_first=stop,
        progress=_Teller(job, store=store, keep=keep).tell,
    )
    print(found.summary())
    return found.exit_code


def _check(seeds: int, *, first_seed: int, keep: int, nodes: int, jobs: int | None) -> None:
    if seeds < 1:
        raise UsageError(f"--seeds is {seeds}; it should be 1 or more")
    if nodes < 0:
        raise UsageError(f"--nodes is {nodes}; it should be 1 or more")
    if jobs is not None and jobs < 1:
        raise UsageError(f"--jobs is {jobs}; it should be 1 or more")
    for flag, number in (("--first-seed", first_seed), ("--keep", keep)):
        if number < 0:
            raise UsageError(f"{flag} is {number}; it should be 0 or more")


class _Teller:
    """Prints each seed that is not valid, and keeps the first of them."""

    def __init__(self, job: Job, *, store: str, keep: int) -> None:
        self.job, self.store, self.keep = job, store, keep

    def tell(self, outcome: SeedOutcome) -> None:
        """Called with each outcome as it comes."""
        if outcome.verdict.value == "valid":
            return
        print(outcome.line, flush=True)
        self._keep(outcome)

    def _keep(self, outcome: SeedOutcome) -> None:
        from harness.campaign.seed_runs import SeedSpec, keep_seed

        if self.keep > 0 and outcome.found_by != CRASH:
            self.keep -= 1
            run_dir = keep_seed(outcome.seed, self.job, store=self.store)
            print(f"  report: {run_dir / 'report.html'}")
        print(f"  replay: {SeedSpec.of(outcome.seed, self.job).command}", flush=True)

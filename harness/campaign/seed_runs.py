"""A seed of a campaign as a run directory: history, faults, results, report, and its replay.

A campaign runs thousands of seeds and keeps figures only. A seed that failed is worth a look, and
since everything follows from the seed it is simply run once more, here, and written down:

    store/explore[+A30]/<utc>-<seed>/{spec.json, history.jsonl, results.json, report.html, ...}

``spec.json`` says ``"campaign": "explore"`` and what the seed needs. ``harness replay`` on such a
directory runs the seed again and compares the histories byte by byte.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from checkers.core.regular_files import read_regular
from checkers.core.verdict import Result
from checkers.history import Fault, History
from cluster.ablations.registry import UnknownAblation
from harness.campaign.differences import say_difference
from harness.campaign.explore import Job, SeedOutcome, conclude, job_of
from harness.campaign.scans import scans_as_reads
from harness.errors import UsageError
from harness.store import RESULTS, SPEC, create_run_dir, point_latest, write_json

if TYPE_CHECKING:
    from cluster.simulation.swarm import SwarmRun

CAMPAIGN = "explore"
#: stale reads of a kept run, which are not to be linearizable
STALE_READS = "stale_reads.jsonl"
#: no honest spec.json is larger
SPEC_BYTES_MAX = 16 << 20


class SeedSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The settings that run a seed again; ``spec.json`` of a kept one.

    Args:
        campaign: CAMPAIGN.
        seed: which.
        ablate: ids of the ablations.
        faults: the kinds of faults asked for; empty if the seed drew its own.
        consensus: the variant.
        asked_workload, profile, asked_nodes: as asked for; empty or 0 if the seed drew its own.
        role: as asked for.
        duration_ns: virtual time under faults.
    """

    campaign: str
    seed: int
    ablate: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    consensus: str = "raft"
    asked_workload: str = ""
    profile: str = ""
    asked_nodes: int = 0
    role: str = ""
    duration_ns: int = 6_000_000_000

    @classmethod
    def of(cls, seed: int, job: Job) -> SeedSpec:
        """A seed of a campaign."""
        return cls(
            campaign=CAMPAIGN,
            seed=seed,
            ablate=job.ablations,
            faults=job.wishes.faults,
            consensus=job.wishes.consensus,
            asked_workload=job.wishes.workload,
            profile=job.wishes.profile,
            asked_nodes=job.wishes.nodes,
            role=job.role,
            duration_ns=job.duration_ns,
        )

    @property
    def job(self) -> Job:
        """The campaign of this seed.

        Raises:
            UsageError: it holds what no campaign can be asked for.
            UnknownAblation: there is no such ablation.
        """
        return job_of(
            ablations=self.ablate,
            nemesis=",".join(self.faults),
            duration_s=self.duration_ns / 1e9,
            consensus=self.consensus,
            workload=self.asked_workload,
            nodes=self.asked_nodes,
            profile=self.profile,
            role=self.role,
        )

    @property
    def command(self) -> str:
        """The command that runs this seed alone."""
        words = ["harness explore", f"--first-seed {self.seed}", "--seeds 1"]
        if self.ablate:
            words.append(f"--ablate {','.join(self.ablate)}")
        if self.faults:
            words.append(f"--nemesis {','.join(self.faults)}")
        if self.consensus != "raft":
            words.append(f"--consensus {self.consensus}")
        if self.asked_workload:
            words.append(f"--workload {self.asked_workload}")
        if self.asked_nodes:
            words.append(f"--nodes {self.asked_nodes}")
        if self.role:
            words.append(f"--role {self.role}")
        if self.profile:
            words.append(f"--profile {self.profile}")
        if self.duration_ns != 6_000_000_000:
            words.append(f"--duration {self.duration_ns / 1e9:g}")
        return " ".join(words)

    def run(self) -> SwarmRun:
        """Run the seed."""
        return self.job.run(self.seed)


def keep_seed(seed: int, job: Job, *, store: str) -> Path:
    """Run a seed again and write its run directory.

    Args:
        seed: which.
        job: what all seeds of the campaign have in common.
        store: the store.

    Returns:
        the run directory.

    Raises:
        SetupError: the store cannot be written.
        Exception: any that the simulation raises, if that is what the seed found.
    """
    spec = SeedSpec.of(seed, job)
    run = spec.run()
    run_dir = create_run_dir(store, "+".join([CAMPAIGN, *job.ablations]), seed)
    write_run(run_dir, spec, run)
    point_latest(run_dir)
    return run_dir


def write_run(run_dir: Path, spec: SeedSpec, run: SwarmRun) -> None:
    """Write all files of a run of a seed into an empty directory."""
    from checkers.history.jsonl import write_jsonl
    from harness.campaign.patterns import history_of
    from harness.runner import write_report

    outcome, results = conclude(run)
    facts = _facts(spec, run)
    write_json(run_dir / SPEC, {**facts, **msgspec.to_builtins(spec)})
    history = _history(run, facts)
    write_jsonl(history, run_dir / "history.jsonl")
    if run.stale:  # checked by another rule, so kept beside the others
        write_jsonl(history_of(run.stale), run_dir / STALE_READS)
    write_json(
        run_dir / RESULTS,
        _results(
            outcome,
            results,
            faults=history.faults,
            facts=facts,
            replay=spec.command,
            notes=_notes(run),
        ),
    )
    write_report(run_dir)


def _history(run: SwarmRun, facts: dict[str, Any]) -> History:
    from harness.campaign.patterns import history_of, model_of

    faults = [
        Fault(
            number,
            fault.kind,
            fault.begin_ns,
            fault.end_ns,
            value=fault.value,
            nodes=fault.nodes,
        )
        for number, fault in enumerate(run.faults, start=1)
    ]
    header = {name: facts[name] for name in ("test", "seed", "nodes", "workload", "db", "env")}
    header["model"] = model_of(run.events)
    return history_of(scans_as_reads(run.events), faults=faults, header=header)


def _facts(spec: SeedSpec, run: SwarmRun) -> dict[str, Any]:
    counts = {
        kind: sum(event.type == kind for event in run.events) for kind in ("ok", "fail", "info")
    }
    return {
        "test": "+".join([CAMPAIGN, *spec.ablate]),
        "workload": run.options.workload,
        "db": "reference",
        "env": "sim",
        "nemesis": list(run.options.faults),
        "nodes": [f"n{number + 1}" for number in range(run.options.nodes)],
        "concurrency": run.options.clients,
        "seed": spec.seed,
        "duration_ns": run.virtual_ns,
        "ops": counts,
        "variant": "+".join(spec.ablate),
        "trial": run.trial,
        "drawn": msgspec.to_builtins(run.options),
        **_claim(run),
        "command": spec.command,
    }


def _claim(run: SwarmRun) -> dict[str, Any]:
    """The level that transactions are held to, as facts; none of other workloads."""
    from cluster.simulation.profiles import TRANSACTIONS

    if run.options.workload != TRANSACTIONS:
        return {}
    return {"claimed": [run.options.isolation], "claimed_because": "drawn by the seed"}


def _notes(run: SwarmRun) -> list[str]:
    count = sum(event.type == "ok" for event in run.stale)
    if not count:
        return []
    return [
        f"{count} stale reads are in {STALE_READS}: they need not be linearizable; they were "
        "checked to be of some past"
    ]


def _results(
    outcome: SeedOutcome,
    results: list[Result],
    *,
    faults: list[Fault],
    facts: dict[str, Any],
    replay: str,
    notes: list[str],
) -> dict[str, Any]:
    """The contents of results.json; see docs/architecture.md."""
    return {
        "format": "results/1",
        "verdict": outcome.verdict.value,
        "sentence": outcome.sentence,
        "results": [msgspec.to_builtins(result, enc_hook=repr) for result in results],
        "run": facts,
        "faults": [msgspec.to_builtins(fault) for fault in faults],
        "evidence": {"faults_installed": len(faults)},
        "notes": notes,
        "replay": replay,
    }


def seed_spec(run_dir: Path) -> SeedSpec | None:
    """The spec of a seed's run directory; None if the run is none of a campaign.

    Its names are those of our tables: the command that runs it again holds nothing else.

    Raises:
        UsageError: it says that it is, and cannot be run.
    """
    try:
        data = read_regular(run_dir / SPEC, limit=SPEC_BYTES_MAX, below=run_dir)
        found = msgspec.json.decode(data)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(found, dict) or found.get("campaign") != CAMPAIGN:
        return None
    try:
        return _required(msgspec.convert(found, SeedSpec))
    except (msgspec.ValidationError, UsageError, UnknownAblation, OverflowError) as error:
        raise UsageError(f"{run_dir / SPEC} is no seed of a campaign: {error}") from None


def _required(spec: SeedSpec) -> SeedSpec:
    """The spec, if a campaign can have made it.

    Raises:
        UsageError: its seed, a fault or its duration is none of a campaign.
        UnknownAblation: there is no such ablation.
    """
    if not 0 <= spec.seed < 2**63:
        raise UsageError(f"its seed is {spec.seed}; it should be from 0 to 2^63 - 1")
    job = spec.job
    if (job.ablations, job.wishes.faults) != (spec.ablate, spec.faults):
        raise UsageError("its ablations or faults are not written as a campaign writes them")
    return spec


def replay_seed(run_dir: Path, spec: SeedSpec) -> int:
    """Run a kept seed again and compare its history, byte by byte; returns its exit code."""
    from checkers.history.jsonl import write_jsonl

    run = spec.run()
    outcome, _ = conclude(run)
    print(outcome.line)
    with tempfile.TemporaryDirectory(prefix="harness-replay-") as scratch:
        again = Path(scratch) / "history.jsonl"
        write_jsonl(_history(run, _facts(spec, run)), again)
        say_difference(run_dir / "history.jsonl", again, run_dir=run_dir)
    return outcome.verdict.exit_code

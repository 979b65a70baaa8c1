"""The ablations that random seeds find: a measured table, one row for each.

Every ablation is explored until a seed fails that the intact system passes, or the budget is
exhausted. Seeds draw everything; no schedule is fitted to the ablation.

``python bench/ablations.py`` prints the table; docs/ablations.md keeps the latest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor

import msgspec

from checkers.core.verdict import Verdict
from cluster.ablations.registry import Ablation, all_ablations, find
from harness.campaign.explore import SeedOutcome, explore, job_of, run_seed
from harness.campaign.workers import end_with_parent

#: Seeds run at a time: a failure ends the search at the end of its batch.
BATCH = 2


class MatrixRow(msgspec.Struct, frozen=True):
    """The seeds' outcome for one ablation.

    Args:
        ablation: its full name.
        consensus: the variant it was explored on.
        seed: the first that failed and that the intact system passes; -1 if none did.
        found_by: who failed it.
        sentence: what was found.
        seeds: how many were run.
        cpu_s: processor time.
    """

    ablation: str
    consensus: str
    seed: int
    found_by: str
    sentence: str
    seeds: int
    cpu_s: float

    @property
    def found(self) -> bool:
        """Whether a seed found it."""
        return self.seed >= 0


def matrix(
    names: Sequence[str] = (), *, seeds: int, workers: int | None = None
) -> Iterator[MatrixRow]:
    """Explore ablations one by one.

    Args:
        names: ids; empty for all.
        seeds: budget of each.
        workers: processes; None for one per core.

    Raises:
        UnknownAblation: a name is unknown.
        UsageError: a number that cannot be.
    """
    chosen = [find(name) for name in names] or all_ablations()
    if workers == 1:
        yield from (_row(ablation, seeds, None) for ablation in chosen)
        return
    from multiprocessing import get_context

    with ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=end_with_parent
    ) as pool:
        yield from (_row(ablation, seeds, pool) for ablation in chosen)


def _row(ablation: Ablation, seeds: int, pool: Executor | None) -> MatrixRow:
    job = job_of(ablations=[ablation.id], consensus=ablation.consensus)
    intact = job_of(consensus=ablation.consensus)
    run, cpu_s = 0, 0.0
    found: SeedOutcome | None = None
    while run < seeds and found is None:
        batch = range(run, min(seeds, run + BATCH))
        exploration = explore(seeds=batch, job=job, workers=1, executor=pool)
        run += len(batch)
        cpu_s += sum(outcome.cpu_s for outcome in exploration.outcomes)
        for outcome in exploration.failures:
            if run_seed(outcome.seed, intact).verdict is Verdict.VALID:
                found = outcome
                break
    return MatrixRow(
        ablation.name,
        ablation.consensus,
        found.seed if found else -1,
        found.found_by if found else "",
        found.sentence if found else "",
        run,
        cpu_s,
    )


def table(rows: Sequence[MatrixRow]) -> str:
    """The rows as a Markdown table, and a sentence with the count."""
    lines = ["| ablation | found | first seed | by |", "|---|---|---|---|"]
    for row in rows:
        seed, by = (str(row.seed), row.found_by) if row.found else (f"none of {row.seeds}", "")
        lines.append(f"| {row.ablation} | {'yes' if row.found else 'no'} | {seed} | {by} |")
    count = sum(row.found for row in rows)
    share = f"{100 * count / len(rows):.0f}%" if rows else "none"
    lines += ["", f"Found by seeds alone: {count} of {len(rows)} ({share})."]
    return "\n".join(lines)

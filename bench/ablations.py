"""Which ablations random seeds find, with nothing told about them.

    python bench/ablations.py [--seeds 300] [--jobs 2] [ID ...]

For each ablation: the first seed that fails with it and passes without it, and who found it. The
result is a Markdown table; docs/ablations.md keeps the latest. An ablation costs at most its budget
of seeds, about a tenth of a second of processor time each.
"""

from __future__ import annotations

import argparse

from harness.campaign.matrix import MatrixRow, matrix, table


def main() -> None:
    """Run what was asked for, and print each row as it comes and then the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("ids", nargs="*", metavar="ID")
    parser.add_argument("--seeds", type=int, default=300)
    parser.add_argument("--jobs", type=int, default=None)
    given = parser.parse_args()
    rows: list[MatrixRow] = []
    for row in matrix(given.ids, seeds=given.seeds, workers=given.jobs):
        rows.append(row)
        said = f"seed {row.seed} by {row.found_by}" if row.found else f"none of {row.seeds}"
        print(f"{row.ablation}: {said} ({row.cpu_s:.0f} s) {row.sentence[:120]}", flush=True)
    print(f"\n{table(rows)}")


if __name__ == "__main__":
    main()

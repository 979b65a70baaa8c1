"""A schedule of faults: which, when and for how long is in the generator, and nothing is random.

    harness test --env sim --workload schedule:scheduled --time-limit 30

No --nemesis: faults come from the list alone. Name one there as well, and random ones come beside.
"""

from __future__ import annotations

from checkers import linearizable, models
from workloads import Workload
from workloads import generator as gen

SCHEDULE = [
    gen.sleep(2),
    gen.fault("partition", for_s=5, kind="primaries"),  # until healed
    gen.sleep(10),
    gen.fault("kill", for_s=3, targets="one"),
    gen.sleep(2),
    gen.fault("pause", for_s=4, targets="n1", hold=False),  # and go on meanwhile
    gen.sleep(1),
    gen.fault("partition", for_s=2, kind="halves"),
]


def scheduled(*, keys: int = 5, rate_hz: float = 50) -> Workload:
    """Reads and writes of a few registers under the schedule."""
    return Workload(
        generator=gen.clients(gen.mix(gen.reads(keys), gen.writes(keys)).rate(rate_hz), SCHEDULE),
        final=gen.each_process(gen.reads(keys)),
        checker=linearizable(models.register()),
        operations=frozenset({"read", "write"}),
    )

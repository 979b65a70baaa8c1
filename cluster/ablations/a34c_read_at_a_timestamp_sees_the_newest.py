"""A34c: a read at a timestamp is answered with the newest value, as if there were one value a key.

As A34a, for the versions of a data group, which are named by commit timestamps.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.data.timestamped_values import TimestampedValues, Version


class ReadAtATimestampSeesTheNewest(TimestampedValues):
    """Keys with one value each, as far as readers are concerned."""

    def visible(self, versions: list[Version], timestamp: int) -> Version | None:
        """The newest."""
        return versions[-1]


ABLATION = Ablation(
    ReadAtATimestampSeesTheNewest,
    role="data",
    removes="A read at a timestamp takes the newest version up to it.",
    breaks="A transaction sees one key before another transaction and one key after it.",
    nemesis="none",
    workload="list-append",
    checker="list-append",
    anomaly="G-single-item",
    random=False,
    real=False,
    pattern="versioned_value",
)

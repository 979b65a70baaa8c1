"""A34a: a read at a revision is answered with the newest value, as if there were one value a key.

A reader of several keys, one after the other, sees half of what changed meanwhile.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.data.versioned_value import Version, VersionedValues


class ReadAtARevisionSeesTheNewest(VersionedValues):
    """Versions of which only the last counts."""

    def visible(self, versions: list[Version], revision: int) -> Version | None:
        """The last version, also one above the revision."""
        return versions[-1] if versions else None


ABLATION = Ablation(
    ReadAtARevisionSeesTheNewest,
    removes="A read at a revision sees the newest version up to that revision.",
    breaks="A snapshot of two keys has one as it was and the other as it is.",
    nemesis="none",
    workload="list-append",
    checker="list-append",
    anomaly="G-single-item",
    random=False,
    real=False,
)

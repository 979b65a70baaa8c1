"""A12: followers heed any generation, and a leader does not yield to a higher one.

A leader that slept through an election wakes up, goes on sending, and is obeyed. It overwrites what
its successor made certain, and its reads, confirmed by followers that are not its own any more,
come from the past. See ``cluster.clocks.generation_clock``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cluster.ablations.registry import Ablation

if TYPE_CHECKING:
    from cluster.consensus.raft import Raft


class StaleGenerationAccepted:
    """Overrides of :class:`cluster.consensus.raft.Raft`."""

    def accepts_generation(self: Raft, message_generation: int) -> bool:  # type: ignore[misc]
        """Any generation will do."""
        return True

    def yields_to(self: Raft, message_generation: int) -> bool:  # type: ignore[misc]
        """A leader stays a leader whatever it hears."""
        return self.role != "leader" and message_generation > self.generation

    def may_truncate(self: Raft, index: int) -> bool:  # type: ignore[misc]
        """Whoever obeys the past must also cut what is certain."""
        return True


ABLATION = Ablation(
    id="A12",
    slug="stale-generation-accepted",
    pattern="generation_clock",
    removes="Followers accept messages of any generation and a leader ignores a higher one.",
    breaks="A leader resumed after a pause overwrites acknowledged writes and serves stale reads.",
    target="cluster.consensus.raft:Raft",
    decision="accepts_generation",
    override=StaleGenerationAccepted,
    workload="register",
    nemesis="pause",
    checker="linearizable",
    anomaly="nonlinearizable",
    schedule="A12.txt",
    random=True,
    real=True,
)

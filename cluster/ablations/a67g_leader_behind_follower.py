"""A67g: a Zab leader goes on although a follower that promised its epoch is ahead of it.

A vote does not bind, and may be out of date when it is counted. What the follower has taken since
is committed, is not in the leader's history, and is cut.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.consensus.zab_discovery import Discovery


class LeaderBehindFollower(Discovery):
    """A discovery that discovers nothing."""

    def gives_up(self, theirs: tuple[int, int, int], own: tuple[int, int, int]) -> bool:
        """An election was won, and that is enough."""
        return False


ABLATION = Ablation(
    LeaderBehindFollower,
    removes="A Zab leader gives way to a follower whose history is newer than its own.",
    breaks="A leader elected by an old vote cuts an acknowledged write.",
    nemesis="partition,packets",
    consensus="zab",
    pattern="leader_and_followers",
    random=False,
    real=False,
)

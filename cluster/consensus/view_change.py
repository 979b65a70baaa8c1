"""View change: how replicas that miss their primary agree on the next view.

Problem. The primary of a view is given by its number, so there is no election; but the next primary
may lack what earlier ones committed, and the last one may still be at work.

Solution. A replica that misses its primary asks the others for the next view (StartViewChange). It
does nothing else yet, so a replica that merely cannot hear its primary disturbs no other, and one
that hears it does not join in. When a quorum asks for the same view, each of them enters it, which
is a promise that is durable first: it acknowledges nothing of an earlier view any more. Then it
reports to the view's primary (DoViewChange) how far its log goes and in which view that log was
last brought in line with a primary's, its last normal view. Of a quorum of reports the one with the
latest such view has the log of the new view; among equals the longest. The report does not carry
the log. The new primary fetches what it lacks of that one log (``state_transfer``), makes durable
that the view has its log, and only then starts it.

Invariants. The primary of view v is the voter at place v mod n. A view has one log at its start: a
primary that has fixed it never starts that view again, restarts included. A quorum reports to a
view before it starts. An entry that is committed in a view is in the log of every later one,
because a replica that acknowledged it has that view, or a later one, as its last normal view.

What breaks without it. A68a: the longest log, whatever its last normal view, brings back what a
later view has replaced. A68c: a primary that starts before a quorum has reported misses what the
others committed. A68d: a last normal view that a restart forgets makes the newest log look old.
A68f: the end of the chosen log taken for the commit number shows what may yet be lost.

Source: Liskov and Cowling, "Viewstamped Replication Revisited" (2012), 4.2; that asking comes
before entering is PreVote of Ongaro's thesis, 9.6. Bookkeeping and rules of one replica; what
follows from them is described in ``views``.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.config import ClusterConfig
from cluster.consensus.majority_quorum import quorum_size
from cluster.ports import NodeId, Rng
from cluster.wire import DoViewChange

#: A time so long ago that nothing depends on it.
_NEVER_NS = -(1 << 62)


class ViewChange:
    """A replica's timer, who asks for which view, and the reports to a view's primary.

    Args:
        voters: the configuration, sorted; their order gives each view its primary.
        config: timeouts, and whether asking comes before entering.
        rng: randomness for timeouts.
        now_ns: the time.
        has_past: whether this replica took part before. It may have answered a primary just before
            it stopped, and stands by that answer for the shortest timeout; lease reads rely on it.
    """

    __slots__ = (
        "_asks", "_config", "_heard_ns", "_on_request", "_rng", "_voters", "_wanted_ns",
        "deadline_ns", "repeat_ns", "reports", "wanted",
    )  # fmt: skip

    def __init__(
        self,
        voters: Sequence[NodeId],
        *,
        config: ClusterConfig,
        rng: Rng,
        now_ns: int,
        has_past: bool,
    ) -> None:
        self._voters = tuple(voters)
        self._config = config
        self._rng = rng
        self._heard_ns = now_ns if has_past else _NEVER_NS
        #: who asks for which view, and since when
        self._asks: dict[NodeId, tuple[int, int]] = {}
        self._wanted_ns = now_ns
        self._on_request = False
        #: the view this replica asks for; 0 if none
        self.wanted = 0
        #: when it asks for the next view, unless the primary is heard before
        self.deadline_ns = now_ns
        #: when it says again what may have been lost
        self.repeat_ns = now_ns
        #: what was reported to this replica, as the primary of the view it has entered
        self.reports: dict[NodeId, DoViewChange] = {}

    # -- decisions ---------------------------------------------------------------------------------

    def protects_primary(self, now_ns: int) -> bool:
        """Decision: whether others that miss the primary are not joined, since this replica heard
        it a moment ago."""
        if not (self._config.prevote or self._config.check_quorum):
            return False
        return now_ns - self._heard_ns < self._config.election_min_ns

    def may_start(self, reports: Sequence[DoViewChange]) -> bool:
        """Decision: whether these reports, each of another replica, are enough for a view."""
        return len(reports) >= quorum_size(len(self._voters))

    def rank(self, report: DoViewChange) -> tuple[int, int]:
        """Decision: what makes a log the one to go on with; the greatest rank wins."""
        return report.last_normal, report.last_index

    def commit_number(self, reports: Sequence[DoViewChange]) -> int:
        """Decision: what the primary of a new view takes to be committed."""
        return max(report.high_water_mark for report in reports)

    # -- views -------------------------------------------------------------------------------------

    def primary_of(self, view: int) -> NodeId:
        """The primary of a view."""
        return self._voters[view % len(self._voters)]

    def next_view_of(self, node: NodeId, view: int) -> int:
        """The first view after ``view`` whose primary is ``node``."""
        later = (view + step for step in range(1, len(self._voters) + 1))
        return next(found for found in later if self.primary_of(found) == node)

    def entered(self, now_ns: int) -> None:
        """A later view was entered: what was asked and reported before is over."""
        self.wanted, self._on_request = 0, False
        self.reports = {}
        self.arm(now_ns)
        self.repeat_ns = now_ns + self._config.heartbeat_ns

    def arm(self, now_ns: int) -> None:
        """Wait for another random time."""
        config = self._config
        self.deadline_ns = now_ns + self._rng.between(
            config.election_min_ns, config.election_max_ns
        )

    def heard_primary(self, now_ns: int) -> None:
        """The primary spoke: no other is wanted, unless this one asked to be replaced."""
        self._heard_ns = now_ns
        self.arm(now_ns)
        if not self._on_request or now_ns - self._wanted_ns > self._config.election_max_ns:
            self.wanted, self._on_request = 0, False

    # -- asking for a view -------------------------------------------------------------------------

    def want(self, view: int, now_ns: int, *, on_request: bool = False) -> None:
        """Ask for a view from now on.

        Args:
            view: which.
            now_ns: the time.
            on_request: whether the primary itself wants to be replaced.
        """
        assert view >= self.wanted, f"view {view} is asked for after {self.wanted}"
        self.wanted, self._wanted_ns, self._on_request = view, now_ns, on_request
        self.repeat_ns = now_ns + self._config.heartbeat_ns
        self.arm(now_ns)

    @property
    def on_request(self) -> bool:
        """Whether the view is asked for because the primary wants to be replaced."""
        return self._on_request

    def asked(self, source: NodeId, view: int, now_ns: int) -> None:
        """Another replica asks for a view."""
        self._asks[source] = (view, now_ns)

    def quorum_asks(self, now_ns: int) -> bool:
        """Whether a quorum, this replica included, asks for the view it asks for; what was asked
        longer ago than a timeout does not count."""
        since_ns = now_ns - self._config.election_max_ns
        asking = [view for view, at_ns in self._asks.values() if at_ns >= since_ns]
        return self.wanted > 0 and 1 + asking.count(self.wanted) >= quorum_size(len(self._voters))

    # -- reports -----------------------------------------------------------------------------------

    def best(self, node: NodeId) -> tuple[NodeId, DoViewChange]:
        """Whose log the view goes on with; this replica's own, ``node``'s, if it is as good."""
        return max(self.reports.items(), key=lambda item: (self.rank(item[1]), item[0] == node))

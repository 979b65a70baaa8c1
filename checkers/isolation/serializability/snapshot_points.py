"""Start and commit points: what makes a history snapshot-isolated, found, replayed and searched.

Snapshot isolation says that every transaction has a start and a commit point such that it reads the
state committed before its start, and that no other transaction commits to a key it writes between
the two. An order of all points is therefore a proof, which :func:`verify_points` replays knowing
nothing of how it was found.

From a polygraph without forbidden cycles the points follow at once: a dependency a -> b puts the
commit of a before the start of b, an anti-dependency a -> b the start of a before the commit of b.
A cycle of such points is exactly a cycle without two adjacent anti-dependencies.

:func:`search_points` knows nothing of polygraphs: it tries every order. It confirms refutations of
a few transactions.

Source: Berenson and others, *A Critique of ANSI SQL Isolation Levels*; Cerone and Gotsman,
*Analysing Snapshot Isolation*.
"""

from __future__ import annotations

from collections.abc import Sequence

from checkers.core.budget import Meter
from checkers.isolation.serializability.polygraph import Txn

START, COMMIT = 0, 1
#: Partial orders looked at before a search gives up.
STATES_MAX = 50_000

Points = list[tuple[Txn, int]]


def verify_points(points: Points) -> str:
    """Replay start and commit points; "" if they explain every read, else why not."""
    state: dict[int, int] = {}
    started: dict[int, dict[int, int]] = {}
    latest: dict[int, tuple[int, bool]] = {}
    ids, committed, begun = {txn.id for txn, _ in points}, set[int](), 0
    for txn, point in points:
        begun = max(begun, txn.begin)
        if point == COMMIT:
            committed.add(txn.id)
        if (point == COMMIT and txn.end < begun) or txn.after & ids - committed:
            return f"transaction {txn.id} does not follow what it has to"
        if point == START:
            place, running = latest.get(txn.session, (-1, False))
            if running or place >= txn.place:
                return f"transaction {txn.id} starts out of the order of its session"
            latest[txn.session] = (txn.place, True)
            for key, source in txn.reads.items():
                if state.get(key, -1) != source:
                    return f"transaction {txn.id} read key {key} from {source}"
            started[txn.id] = {key: state.get(key, -1) for key in txn.writes}
            continue
        if txn.id not in started:
            return f"transaction {txn.id} commits before it starts"
        for key, before in started[txn.id].items():
            if state.get(key, -1) != before:
                return f"transaction {txn.id} wrote key {key} beside another"
            state[key] = txn.id
        latest[txn.session] = (txn.place, False)
    return ""


def search_points(txns: Sequence[Txn], meter: Meter) -> Points | str | None:
    """An order of points, None if there is none, or why the search stopped. Exhaustive."""
    lanes: dict[int, list[Txn]] = {}
    for txn in sorted(txns, key=lambda t: t.place):
        lanes.setdefault(txn.session, []).append(txn)
    search = _PointSearch(list(lanes.values()), meter)
    found = search.extend((0,) * len(lanes), {}, {})
    if found:
        return search.points
    return search.stopped or None


class _PointSearch:
    """Depth-first search over orders of points, with memory of dead ends."""

    def __init__(self, lanes: list[list[Txn]], meter: Meter) -> None:
        self.lanes = lanes
        self.meter = meter
        self.points: Points = []
        self.dead: set[object] = set()
        self.stopped = ""

    def extend(
        self, at: tuple[int, ...], state: dict[int, int], open_: dict[int, dict[int, int]]
    ) -> bool:
        """Whether the points placed can be completed; they are then in ``points``."""
        if all(place == 2 * len(lane) for place, lane in zip(at, self.lanes)):
            return True
        key = (
            at,
            frozenset(state.items()),
            frozenset((txn, frozenset(seen.items())) for txn, seen in open_.items()),
        )
        if key in self.dead or self.stopped:
            return False
        if len(self.dead) > STATES_MAX or self.meter.spent(1):
            self.stopped = self.meter.reason or f"more than {STATES_MAX} partial orders"
            return False
        for lane, place in enumerate(at):
            if place < 2 * len(self.lanes[lane]) and self._try(lane, place, at, state, open_):
                return True
        self.dead.add(key)
        return False

    def _due(self, txn: Txn, at: tuple[int, ...]) -> bool:
        """Whether all that has to commit before it starts, sessions aside, has done so."""
        left = [lane[place // 2 :] for lane, place in zip(self.lanes, at)]
        return not any(
            other.id in txn.after or other.end < txn.begin for lane in left for other in lane
        )

    def _try(
        self,
        lane: int,
        place: int,
        at: tuple[int, ...],
        state: dict[int, int],
        open_: dict[int, dict[int, int]],
    ) -> bool:
        txn = self.lanes[lane][place // 2]
        later = (*at[:lane], place + 1, *at[lane + 1 :])
        if place % 2 == START:
            if not self._due(txn, at):
                return False
            if any(state.get(key, -1) != source for key, source in txn.reads.items()):
                return False
            opened = {**open_, txn.id: {key: state.get(key, -1) for key in txn.writes}}
            after = state
        else:
            if any(state.get(key, -1) != seen for key, seen in open_[txn.id].items()):
                return False
            opened = {other: seen for other, seen in open_.items() if other != txn.id}
            after = {**state, **dict.fromkeys(txn.writes, txn.id)}
        self.points.append((txn, place % 2))
        if self.extend(later, after, opened):
            return True
        self.points.pop()
        return False

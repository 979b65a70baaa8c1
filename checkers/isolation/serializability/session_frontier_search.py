"""Serial orders by frontier search, to confirm refutations, and the replay of any serial order.

A set of transactions that is closed under sessions is a *frontier*: one position per session. What
may come next depends on the frontier alone, since at most one writer of a key inside it can still
have readers outside. So there are only as many states as frontiers: polynomial for a fixed number
of sessions.

Source: Biswas and Enea, *On the Complexity of Checking Transactional Consistency*, OOPSLA 2019.
"""

from __future__ import annotations

from collections.abc import Sequence

from checkers.core.budget import Meter
from checkers.isolation.serializability.polygraph import Txn

#: Frontiers tried before the search gives up.
FRONTIERS_MAX = 400_000


def verify_serial_order(order: Sequence[Txn]) -> str:
    """Replay transactions one after another; "" if every read sees the latest write, else why not.

    Knows nothing of how the order was found.
    """
    state: dict[int, int] = {}
    places: dict[int, int] = {}
    latest = 0
    done: set[int] = set()
    ids = {txn.id for txn in order}
    for txn in order:
        latest = max(latest, txn.begin)
        if txn.end < latest or txn.after & ids - done:
            return f"transaction {txn.id} comes after one that it has to precede"
        done.add(txn.id)
        if places.get(txn.session, -1) >= txn.place:
            return f"transaction {txn.id} comes after a later one of its session"
        places[txn.session] = txn.place
        for key, source in txn.reads.items():
            if state.get(key, -1) != source:
                return f"transaction {txn.id} read key {key} from {source}, not {state.get(key)}"
        for key in txn.writes:
            state[key] = txn.id
    return ""


def frontier_search(txns: Sequence[Txn], meter: Meter) -> list[Txn] | str | None:
    """A serial order, None if there is none, or why the search stopped.

    A transaction may come next if those before it in its session have come, everything it reads is
    the latest version, and no transaction outside still has to read what it overwrites.
    """
    sessions: dict[int, list[Txn]] = {}
    for txn in txns:
        sessions.setdefault(txn.session, []).append(txn)
    lanes = list(sessions.values())
    unread: dict[tuple[int, int], int] = {}
    for txn in txns:
        for key, source in txn.reads.items():
            unread[(key, source)] = unread.get((key, source), 0) + 1
    search = Frontier(lanes, unread)
    return search.run(meter)


class Frontier:
    """Depth-first search over frontiers with memory of dead ones."""

    def __init__(self, lanes: list[list[Txn]], unread: dict[tuple[int, int], int]) -> None:
        self.lanes = lanes
        self.unread = unread
        self.at = [0] * len(lanes)
        self.latest: dict[int, int] = {}
        self.order: list[Txn] = []
        self.placed: set[int] = set()
        self.ids = {txn.id for lane in lanes for txn in lane}
        self.timed = any(txn.begin for lane in lanes for txn in lane)

    def due(self, txn: Txn) -> bool:
        """Whether all that has to come before it, sessions aside, has come."""
        if txn.after and txn.after & self.ids - self.placed:
            return False
        left = zip(self.lanes, self.at) if self.timed else ()
        return all(at == len(lane) or lane[at].end >= txn.begin for lane, at in left)

    def may(self, txn: Txn) -> bool:
        """Whether its reads are the latest, and the versions it overwrites have no reader left."""
        latest, unread = self.latest, self.unread
        if not self.due(txn):
            return False
        if any(latest.get(key, -1) != source for key, source in txn.reads.items()):
            return False
        for key in txn.writes:
            current = latest.get(key, -1)
            waiting = unread.get((key, current), 0)
            if waiting - (txn.reads.get(key) == current) > 0:
                return False
        return True

    def do(self, lane: int) -> list[tuple[int, int]]:
        """Place a session's next transaction; what it overwrote."""
        txn = self.lanes[lane][self.at[lane]]
        self.at[lane] += 1
        self.order.append(txn)
        self.placed.add(txn.id)
        for key, source in txn.reads.items():
            self.unread[(key, source)] -= 1
        overwritten = [(key, self.latest.get(key, -1)) for key in txn.writes]
        for key in txn.writes:
            self.latest[key] = txn.id
        return overwritten

    def undo(self, lane: int, overwritten: list[tuple[int, int]]) -> None:
        """Take back the transaction placed last."""
        txn = self.order.pop()
        self.placed.discard(txn.id)
        self.at[lane] -= 1
        for key, source in txn.reads.items():
            self.unread[(key, source)] += 1
        for key, source in overwritten:
            self.latest[key] = source

    def run(self, meter: Meter) -> list[Txn] | str | None:
        total = sum(map(len, self.lanes))
        dead: set[tuple[int, ...]] = set()
        stack: list[tuple[int, list[tuple[int, int]]]] = []
        lane = 0
        while len(self.order) < total:
            while lane < len(self.lanes):
                at = self.at[lane]
                if at < len(self.lanes[lane]) and self.may(self.lanes[lane][at]):
                    overwritten = self.do(lane)
                    if tuple(self.at) not in dead:
                        break
                    self.undo(lane, overwritten)
                lane += 1
            else:
                dead.add(tuple(self.at))
                if len(dead) > FRONTIERS_MAX:
                    return f"more than {FRONTIERS_MAX} frontiers"
                if meter.spent(1):
                    return meter.reason
                if not stack:
                    return None
                lane, overwritten = stack.pop()
                self.undo(lane, overwritten)
                lane += 1
                continue
            stack.append((lane, overwritten))
            lane = 0
        return list(self.order)

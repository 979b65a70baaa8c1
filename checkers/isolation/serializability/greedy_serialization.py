"""A serial order of many transactions in many sessions: forced orders first, then a guided search.

Problem. The polygraph of thousands of transactions over a few keys has millions of choices.

Solution. Most of an order is forced and cheap to find. A vector per transaction says how many
transactions of each session must come before it. It begins with sessions and reads-from and grows
by two rules until nothing is new, for a reader of a key, the writer it read from, and another
writer of the key:

- if the other comes before the reader, it comes before the writer;
- if it comes after the writer, it comes after the reader.

In each session only the last writer before, or the first after, is looked at; the others follow.
Then a depth-first search places transactions one by one, those invoked first before others. In a
history that a database executed, that is seldom far off.

Invariants. The search is not complete: it finds an order or gives up. The caller replays an order
that was found. Rules that contradict each other are a proof that no order exists.

What breaks without it: large valid histories would go to slower searches.

Source: Biswas and Enea, OOPSLA 2019, for frontiers; the vectors are AWDIT's, with both rules of
Cobra's pruning (OSDI 2020).

For :mod:`checkers.isolation.serializability.serial`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from checkers.core.budget import Meter
from checkers.isolation.serializability.polygraph import Txn, required
from checkers.isolation.serializability.session_frontier_search import Frontier

#: Rounds of the two rules, all together.
ROUNDS_MAX = 64
#: Rounds of the rules before each search, and the frontiers that may lead nowhere in it: often few
#: forced orders are enough, and the rest of them takes longer than the search.
ATTEMPTS = ((1, 200), (2, 1000), (ROUNDS_MAX, 60_000))
#: Transactions between looks at the budget.
METER_INTERVAL = 64


class Forced:
    """How many transactions of each session must come before each transaction."""

    def __init__(self, txns: Sequence[Txn]) -> None:
        self.txns = {txn.id: txn for txn in txns}
        sessions: dict[int, list[Txn]] = {}
        for txn in txns:
            sessions.setdefault(txn.session, []).append(txn)
        self.lanes = list(sessions.values())
        self.at: dict[int, tuple[int, int]] = {}
        self.before: dict[int, set[int]] = {txn.id: set() for txn in txns}
        self.writers: list[dict[int, list[int]]] = []
        for number, lane in enumerate(self.lanes):
            places: dict[int, list[int]] = {}
            for place, txn in enumerate(lane):
                self.at[txn.id] = (number, place)
                if place:
                    self.before[txn.id].add(lane[place - 1].id)
                self.before[txn.id].update(s for s in txn.reads.values() if s >= 0)
                for key in txn.writes:
                    places.setdefault(key, []).append(place)
            self.writers.append(places)
        for source, target, _ in required(txns):
            if source in self.before:
                self.before[target].add(source)
        self.clocks: dict[int, list[int]] = {}

    def saturate(self, meter: Meter, *, rounds: int = ROUNDS_MAX) -> bool | None:
        """Apply the rules for some rounds.

        Returns:
            False if they contradict each other: there is no order. None if nothing is new any
            more, True if another round might find something.
        """
        for _ in range(rounds):
            if meter.spent(len(self.txns)):
                return True
            if not self._clock():
                return False
            new = self._rules(meter)
            if new is None:
                return False
            if not new:
                return None
        return self._clock()

    def _clock(self) -> bool:
        """Compute the vectors in an order of what is known; False if there is none."""
        waiting = {txn: len(before) for txn, before in self.before.items()}
        out: dict[int, list[int]] = {txn: [] for txn in self.txns}
        for txn, before in self.before.items():
            for source in before:
                out[source].append(txn)
        order = [txn for txn, count in waiting.items() if not count]
        clocks: dict[int, list[int]] = {}
        for txn in order:
            clock = [0] * len(self.lanes)
            for source in self.before[txn]:
                clock = list(map(max, clock, clocks[source]))
                lane, place = self.at[source]
                clock[lane] = max(clock[lane], place + 1)
            clocks[txn] = clock
            for target in out[txn]:
                waiting[target] -= 1
                if not waiting[target]:
                    order.append(target)
        self.clocks = clocks
        return len(order) == len(self.txns)

    def _rules(self, meter: Meter) -> bool | None:
        """One round of both rules; whether anything is new, None for a contradiction."""
        new = False
        for count, reader in enumerate(self.txns.values()):
            if count % METER_INTERVAL == 0 and meter.spent(METER_INTERVAL):
                return False
            for key, source in reader.reads.items():
                for lane, places in enumerate(self.writers):
                    wrote = places.get(key)
                    if not wrote:
                        continue
                    earlier = bisect_left(wrote, self.clocks[reader.id][lane])
                    if earlier:
                        other = self.lanes[lane][wrote[earlier - 1]].id
                        if source < 0:
                            return None
                        new |= other != source and self._know(other, source)
                    later = self._first_after(source, lane, wrote)
                    if later == reader.id:  # the reader's own write: the next one is after it
                        continue
                    if later >= 0:
                        new |= self._know(reader.id, later)
        return new

    def _first_after(self, source: int, lane: int, wrote: list[int]) -> int:
        """The first writer of a session that must come after what was read, or -1."""
        if source < 0:
            return self.lanes[lane][wrote[0]].id
        home, place = self.at[source]
        low, high = 0, len(wrote)
        while low < high:
            middle = (low + high) // 2
            if self.clocks[self.lanes[lane][wrote[middle]].id][home] > place:
                high = middle
            else:
                low = middle + 1
        return self.lanes[lane][wrote[low]].id if low < len(wrote) else -1

    def _know(self, source: int, target: int) -> bool:
        """Put one transaction before another; whether that was not known."""
        lane, place = self.at[source]
        if self.clocks[target][lane] > place or source in self.before[target]:
            return False
        self.before[target].add(source)
        return True


def guided_search(txns: Sequence[Txn], meter: Meter) -> list[Txn] | bool:
    """A serial order; False if there is provably none; True if none was found.

    Args:
        txns: in order of session and place.
        meter: the budget; once it is spent the answer is True.
    """
    forced = Forced(txns)
    unread: dict[tuple[int, int], int] = {}
    for txn in txns:
        for key, source in txn.reads.items():
            unread[(key, source)] = unread.get((key, source), 0) + 1
    for rounds, dead_max in ATTEMPTS:
        more = forced.saturate(meter, rounds=rounds)
        if more is False:
            return False
        if meter.spent():
            return True
        dead_max = dead_max if more else ATTEMPTS[-1][1]
        found = _Guided(forced, dict(unread)).search(meter, dead_max=dead_max)
        if found or not txns:
            return found
        if more is None:
            break
    return True


class _Guided(Frontier):
    """Depth first, by invocation, and never before what must come before."""

    def __init__(self, forced: Forced, unread: dict[tuple[int, int], int]) -> None:
        super().__init__(forced.lanes, unread)
        self.clocks = forced.clocks

    def _next(self) -> list[int]:
        """The sessions whose next transaction may come now, the one invoked last first."""
        able = []
        for lane, at in enumerate(self.at):
            if at < len(self.lanes[lane]):
                txn = self.lanes[lane][at]
                ready = all(map(int.__ge__, self.at, self.clocks[txn.id]))
                if ready and self.may(txn):
                    able.append((txn.id, lane))
        return [lane for _, lane in sorted(able, reverse=True)]

    def search(self, meter: Meter, *, dead_max: int) -> list[Txn]:
        """The order, or an empty list."""
        total = sum(map(len, self.lanes))
        dead: set[tuple[int, ...]] = set()
        stack: list[tuple[int, list[tuple[int, int]], list[int]]] = []
        able = self._next()
        while len(self.order) < total:
            if able:
                lane = able.pop()
                overwritten = self.do(lane)
                if tuple(self.at) in dead:
                    self.undo(lane, overwritten)
                    continue
                stack.append((lane, overwritten, able))
                able = self._next()
                continue
            dead.add(tuple(self.at))
            if not stack or len(dead) > dead_max or meter.spent(1):
                return []
            lane, overwritten, able = stack.pop()
            self.undo(lane, overwritten)
        return list(self.order)

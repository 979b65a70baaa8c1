"""Partition store: what a data group holds of each of its partitions, and the steps of a move.

A partition is versions by timestamp, intents of transactions that are not decided yet, and the
timestamps at which it was read. Which partitions the group has, at which epoch, is
:class:`cluster.data.ownership.Ownership`'s to say; it and this table change together, by commands
of the group's log.

    move      freeze(p, e) here; export(p, e) once no intent is open, receive(p, e + 1) of each part
              of it in the other group and adopt(p, e + 1) with the last; drop(p, e) here
    split     split(p, e, at, p, q): p keeps the keys below ``at``, q gets the others, both at e + 1
    merge     merge(p, e, q, f, p): p takes q's keys, at an epoch above both

Intents stay with their keys through a split or merge. With an exported partition go its versions,
its read timestamps and the closed timestamp of the group at the freeze, as a floor: a write in the
new group commits above all that was promised in the old one, which serves no read of the partition
after the freeze. Log indexes mean nothing in another log, so all versions count as installed when
the partition was adopted.

Invariants. A partition is in the table if and only if the group has it. An export has no intents,
and nothing of the partition changes after it: no write, and no clearing away either, so that all
parts of an export fit together. The closed timestamp never goes back.

What breaks without it. A37: a group that acts for an epoch that is over. See
:mod:`cluster.data.ownership`.

Source: Joshi, "Fixed Partitions", "Key-Range Partitions". Part of the replicated state of a data
group; pure and deterministic.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from cluster.core.answers import Answer, fail, ok
from cluster.data.ownership import Ownership
from cluster.data.partition_commands import ADOPT, DROP, FREEZE, MERGE, OWN, RECEIVE, SPLIT
from cluster.data.partition_transfer import Arrivals, Leaving, Part, unpacked
from cluster.data.timestamp_cache import TimestampCache, check_cache
from cluster.data.timestamped_values import TimestampedValues, check_rows
from cluster.wire import Command


class Intent(NamedTuple):
    """A write of a transaction that is prepared and not decided yet.

    Args:
        txn: the transaction.
        how, value: as in :meth:`cluster.data.timestamped_values.TimestampedValues.install`.
    """

    txn: str
    how: str
    value: Any


class Partition:
    """One partition's data."""

    __slots__ = ("cache", "intents", "sealed", "values", "writes")

    def __init__(self, values: TimestampedValues, cache: TimestampCache) -> None:
        self.values = values
        self.cache = cache
        self.intents: dict[str, Intent] = {}
        #: versions installed since the partition came to this group
        self.writes = 0
        #: the group's closed timestamp at the freeze; None before
        self.sealed: int | None = None

    def install(self, index: int, timestamp: int, key: str, how: str, value: Any) -> None:
        """Make a write visible; it takes the place of the intent it may have been."""
        self.intents.pop(key, None)
        self.values.install(index, timestamp, key, how, value)
        self.writes += 1

    def intents_within(self, low: str, high: str | None) -> list[tuple[str, Intent]]:
        """The intents on keys from ``low`` up to but without ``high``, in the order of keys."""
        if not self.intents:
            return []
        return sorted(
            (key, intent)
            for key, intent in self.intents.items()
            if low <= key and (high is None or key < high)
        )


class PartitionStore:
    """The partitions of one group.

    Args:
        ownership, values, cache: the classes it is made of.
    """

    __slots__ = ("_cache", "_leaving", "_values", "arrivals", "closed", "ownership", "partitions")

    def __init__(
        self,
        ownership: type[Ownership],
        values: type[TimestampedValues],
        cache: type[TimestampCache],
    ) -> None:
        self._values, self._cache = values, cache
        self.ownership = ownership()
        self.partitions: dict[str, Partition] = {}
        self.arrivals = Arrivals()
        self._leaving = Leaving()
        #: no transaction prepares at or below this timestamp any more
        self.closed = 0

    def __len__(self) -> int:
        return sum(len(each.values) for each in self.partitions.values())

    @property
    def intents(self) -> int:
        """Keys that have an intent."""
        return sum(len(each.intents) for each in self.partitions.values())

    def refusal(self, partition: str, epoch: int, key: str | None = None) -> str:
        """Why the group does not act for a partition at an epoch, or a key of it; "" if it does."""
        ownership = self.ownership
        wrong = ownership.refusal(partition, epoch)
        if wrong or key is None:
            return wrong
        return ownership.outside(partition, key)

    # -- commands ----------------------------------------------------------------------------------

    def apply(self, index: int, command: Command) -> Answer:
        """Carry out a command about partitions, which has no problem."""
        name, args = command.key, command.args
        match command.op:
            case "p-own":
                return self._own(name, *args)
            case "p-adopt":
                return self._adopt(index, name, *args)
            case "p-receive":
                return self._receive(name, *args)
            case "p-freeze":
                return self._freeze(name, *args)
            case "p-drop":
                return self._drop(name, *args)
            case "p-split":
                return self._split(name, *args)
            case _:
                assert command.op == MERGE, f"{command.op} is not about partitions"
                return self._merge(name, *args)

    def _own(self, name: str, epoch: int, scheme: str, low: Any, high: Any) -> Answer:
        new = self.ownership.take(name, epoch, scheme, low, high)
        if new:
            self.partitions[name] = self._empty()
        return ok(new)

    def _receive(self, name: str, epoch: int, *part: Any) -> Answer:
        """Part of a partition that will be adopted; how many bytes of it are there."""
        given = Part(*part)
        if not self.ownership.would_take(name, epoch):
            return ok(given.size)
        return ok(self.arrivals.add(name, epoch, given))

    def _adopt(
        self, index: int, name: str, epoch: int, scheme: str, low: Any, high: Any, *last: Any
    ) -> Answer:
        """The last part of a partition: with those before, the group takes it."""
        new = self.ownership.would_take(name, epoch)
        if new:
            packed, wrong = self.arrivals.whole(name, epoch, Part(*last))
            data = unpacked(packed)
            wrong = wrong or _data_problem(data)
            if wrong:
                return fail(wrong)
            assert self.ownership.take(name, epoch, scheme, low, high), f"{name} is not taken"
            closed, cache, values = data
            adopted = self.partitions[name] = self._empty()
            adopted.values.restore(values, installed=index)
            adopted.cache.restore(cache)
            adopted.cache.forget(closed, raises_floor=True)
            self._leaving.forget(name)
        self.arrivals.forget(name, epoch)
        return ok(new)

    def _empty(self) -> Partition:
        return Partition(self._values(), self._cache())

    def _freeze(self, name: str, epoch: int) -> Answer:
        wrong = self.ownership.freeze(name, epoch)
        if wrong:
            return fail(wrong)
        held = self.partitions[name]
        held.sealed = self.closed if held.sealed is None else held.sealed
        return ok(len(held.intents))

    def _drop(self, name: str, epoch: int) -> Answer:
        held = self.partitions.get(name)
        if held is not None and held.intents and self.ownership.held[name].epoch <= epoch:
            return fail(f"{name} has {len(held.intents)} open intents")
        gone = self.ownership.drop(name, epoch)
        if gone:
            del self.partitions[name]
            self._leaving.forget(name)
        self.arrivals.forget(name, epoch)
        return ok(gone)

    def _split(self, name: str, epoch: int, at: str, left: str, right: str) -> Answer:
        if left != name:
            return fail(f"the left part of {name} keeps its name: it cannot be {left!r}")
        new, wrong = self.ownership.split(name, epoch, at, right)
        if not new:
            return fail(wrong) if wrong else ok(False)
        whole = self.partitions[name]
        other = self.partitions[right] = Partition(whole.values.cut(at), whole.cache.cut(at))
        for key in [key for key in whole.intents if key >= at]:
            other.intents[key] = whole.intents.pop(key)
        return ok(True)

    def _merge(self, name: str, epoch: int, right: str, right_epoch: int, into: str) -> Answer:
        if into != name:
            return fail(f"the merged partition keeps the left one's name: it cannot be {into!r}")
        new, wrong = self.ownership.merge(name, epoch, right, right_epoch)
        if not new:
            return fail(wrong) if wrong else ok(False)
        left, gone = self.partitions[name], self.partitions.pop(right)
        left.values.join(gone.values)
        left.cache.join(gone.cache)
        left.intents.update(gone.intents)
        left.writes += gone.writes
        return ok(True)

    # -- reads -------------------------------------------------------------------------------------

    def export(self, name: str, epoch: int, offset: int, bytes_max: int) -> Answer:
        """Part of a frozen partition's data, for another group; a refusal while intents are open.

        Args:
            name, epoch: the partition.
            offset: where the part begins.
            bytes_max: how large it may be.
        """
        wrong = self.ownership.export_refusal(name, epoch)
        if wrong:
            return fail(wrong)
        held = self.partitions[name]
        if held.intents:
            return fail(f"{name} has {len(held.intents)} open intents")
        assert held.sealed is not None, f"{name} is frozen and was not sealed"

        def state() -> Any:
            return [held.sealed, held.cache.encode(), held.values.encode()]

        part = self._leaving.part(name, epoch, state, offset, bytes_max)
        wrong = part.problem()
        return fail(wrong) if wrong else ok(list(part))

    def stat(self, name: str, epoch: int) -> Answer:
        """How large and busy a partition is."""
        held = self.ownership.held.get(name)
        if held is None or held.epoch != epoch:
            return fail(f"stale-epoch: {name} is not of this group at epoch {epoch}")
        values, writes = self.partitions[name].values, self.partitions[name].writes
        return ok({"keys": len(values), "writes": writes, "middle": values.middle()})

    # -- time --------------------------------------------------------------------------------------

    def close(self, timestamp: int) -> int:
        """Nothing prepares at or below a timestamp any more; the closed timestamp."""
        if timestamp > self.closed:
            self.closed = timestamp
            for each in self.partitions.values():
                if each.sealed is None:
                    each.cache.forget(timestamp)
        return self.closed

    def collect(self, below: int) -> int:
        """Drop versions that no read at or above a timestamp sees; how many that were."""
        live = (each for each in self.partitions.values() if each.sealed is None)
        return sum(each.values.collect(below) for each in live)

    # -- snapshots ---------------------------------------------------------------------------------

    def encode(self) -> Any:
        """Everything, JSON-like."""
        rows = [
            (name, each.values.encode(), each.cache.encode(), each.writes, _intent_rows(each),
             each.sealed)
            for name, each in self.partitions.items()
        ]  # fmt: skip
        return [self.closed, self.ownership.encode(), rows, self.arrivals.encode()]

    def restore(self, state: Any) -> None:
        """Replace everything by what :meth:`encode` gave, decoded afresh."""
        self.closed, ownership, rows, arrivals = state
        self.ownership.restore(ownership)
        self.arrivals.restore(arrivals)
        self._leaving.clear()
        self.partitions = {}
        for name, values, cache, writes, intents, sealed in rows:
            held = self.partitions[name] = self._empty()
            held.values.restore(values)
            held.cache.restore(cache)
            held.writes, held.sealed = writes, sealed
            held.intents = {key: Intent(*rest) for key, *rest in intents}
        assert self.partitions.keys() == self.ownership.held.keys(), (
            "partitions and ownership differ"
        )

    def digest(self) -> int:
        """Hash of the versions and read timestamps; the cost is that of what has changed."""
        return sum(
            each.values.digest() + 3 * each.cache.digest() for each in self.partitions.values()
        )

    def rest(self) -> Any:
        """What :meth:`digest` does not cover, to be hashed whole: it is small."""
        held, given_up = self.ownership.encode()
        rows = [
            [name, each.cache.rest(), each.writes, sorted(_intent_rows(each)), each.sealed]
            for name, each in sorted(self.partitions.items())
        ]
        arriving = self.arrivals.rest()
        return [self.closed, sorted(held), sorted(given_up.items()), rows, arriving]


def _intent_rows(partition: Partition) -> list[Any]:
    return [(key, *intent) for key, intent in partition.intents.items()]


def _data_problem(data: Any) -> str:
    if type(data) not in (list, tuple) or len(data) != 3 or type(data[0]) is not int:
        return "the data is not that of an exported partition"
    return check_cache(data[1]) or check_rows(data[2])


#: The commands of :meth:`PartitionStore.apply`.
COMMANDS = frozenset({OWN, FREEZE, RECEIVE, ADOPT, DROP, SPLIT, MERGE})

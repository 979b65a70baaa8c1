"""Fixed Partitions: a key's partition never changes; partitions move, keys do not.

Problem. Data is spread over groups of nodes, and groups come and go. If the group is computed from
the key and the number of groups, one more group gives nearly every key another place, and a node
that has not heard of it looks in the wrong one.

Solution. The number of partitions, called slots here, is chosen once, much larger than the number
of groups there will be. A key belongs to the slot ``stable_hash(key) % slots``. The hash is
published: the BLAKE2b digest of 64 bits of the key's UTF-8 text, as a number in network order. So
every process, of any version and on any machine, names the same slot. Which group has a slot is
another question, answered by the versioned map in the core (:mod:`cluster.data.placement`). When
the groups change, :func:`shares` moves as few slots as can be: those of a group that is gone, and
those above the share of a group that has too many.

Invariants. The slot of a key depends on the key and the number of slots alone. All slots have a
group, and one only. After a change of groups the numbers of slots differ by one at most, and no
assignment with that property moves fewer.

What breaks without it. A36a: with the hash taken modulo the number of groups, keys that were
written before a node joined are looked for where they never were. A36b: with the hash that Python
salts anew in each process, two nodes name two slots for one key.

Source: Joshi, "Fixed Partitions"; the hash slots of Redis Cluster, the partitions of a Kafka topic.
Used by ``cluster.data.placement`` and ``cluster.data.placement_plan``; pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence

#: More slots than this make the map large and give nothing.
SLOTS_MAX = 16_384


class FixedPartitions:
    """Which slot a key belongs to.

    Args:
        slots: how many there are; never changed once keys are stored.
        node: the node that computes; it is told for error messages, and changes no slot.

    Raises:
        ValueError: there are too few or too many slots.
    """

    __slots__ = ("node", "slots")

    def __init__(self, slots: int, *, node: str = "") -> None:
        if not 1 <= slots <= SLOTS_MAX:
            raise ValueError(f"slots is {slots}; it should be 1 to {SLOTS_MAX}")
        self.slots = slots
        self.node = node

    def slot_of(self, key: str, *, groups: int) -> int:
        """The slot of a key.

        Args:
            key: any text.
            groups: how many groups there are at present.
        """
        slot = self.stable_hash(key) % self.modulus(groups)
        assert 0 <= slot < self.slots, f"{self.node}: slot {slot} of {key!r} is above {self.slots}"
        return slot

    def stable_hash(self, key: str) -> int:
        """Decision: the hash of a key, equal in every process for ever."""
        digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return int.from_bytes(digest, "big")

    def modulus(self, groups: int) -> int:
        """Decision: by what the hash is divided: the slots, however many groups there are."""
        return self.slots


def shares(
    current: Mapping[str, str], targets: Sequence[str], *, pinned: Collection[str] = ()
) -> dict[str, str]:
    """Who should have each partition: as even as can be, with as few moves as can be.

    Args:
        current: the group of each partition; "" for none yet.
        targets: the groups that may have partitions, each once.
        pinned: partitions that stay where they are for now.

    Returns:
        The group of every partition. With no targets nothing moves.
    """
    if not targets:
        return dict(current)
    held: dict[str, list[str]] = {group: [] for group in sorted(targets)}
    homeless: list[str] = []
    stays = 0
    for partition in sorted(current):
        group = current[partition]
        if group in held:
            held[group].append(partition)
        elif partition in pinned:
            stays += 1
        else:
            homeless.append(partition)
    quotas = _quotas({group: len(parts) for group, parts in held.items()}, len(current) - stays)
    return _dealt(dict(current), held, homeless, quotas, pinned)


def _quotas(counts: Mapping[str, int], total: int) -> dict[str, int]:
    """How many partitions each group should have; a group that has many keeps the odd one."""
    least, odd = divmod(total, len(counts))
    by_size = sorted(counts, key=lambda group: (-counts[group], group))
    return {group: least + (place < odd) for place, group in enumerate(by_size)}


def _dealt(
    result: dict[str, str],
    held: Mapping[str, list[str]],
    homeless: list[str],
    quotas: Mapping[str, int],
    pinned: Collection[str],
) -> dict[str, str]:
    """Take what is above a quota, and give it and the homeless to those below theirs."""
    for group, parts in held.items():
        for partition in reversed([p for p in parts if p not in pinned]):
            if len(parts) <= quotas[group]:
                break
            parts.remove(partition)
            homeless.append(partition)
    for partition in sorted(homeless):
        wanting = [group for group in held if len(held[group]) < quotas[group]]
        # pinned partitions may leave a group above its quota; then the least loaded one takes more
        group = min(wanting or held, key=lambda name: (len(held[name]), name))
        held[group].append(partition)
        result[partition] = group
    return result

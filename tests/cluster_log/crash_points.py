"""One random crash point: a script of writes, and the moment and manner of its end, from a seed.

What ends it: power is gone at some operation of the disk (torn tails, sectors lost in any order,
directory entries lost), or the process dies, or an operation fails with EIO or ENOSPC and the node
stops. Then, in some, one bit flips in one of its files. Recovery must find everything acknowledged,
or say that it does not: a refusal, or damage to be repaired, with file, offset and cause.

A flip comes after the death of the process, or once the storage was at rest. After a loss of power
in the middle of commits, damage to the last of them cannot be told from a torn write (see
``cluster.log.superblock``); that is two faults, and the second one strikes what the first one hid.
"""

from __future__ import annotations

import random
from contextlib import suppress

from crash_disk import Crash, CrashDisk
from log_model import Model, Script, Step

from cluster.config import ClusterConfig
from cluster.log.storage import Storage
from cluster.log.superblock import newer
from cluster.log.write_ahead_log import CorruptLog
from cluster.ports import DiskError, Recovered

ENDS = ("power", "power", "power", "EIO", "ENOSPC", "kill-flip", "rest-flip")


def run_crash_point(seed: int) -> str:
    """What came of it: ``whole``, ``damage`` or ``refused``.

    Raises:
        AssertionError: something acknowledged is gone, and nothing says so.
    """
    source = random.Random(seed)
    config = ClusterConfig(segment_bytes=source.choice((150, 256, 600, 4096)))
    disk, model = CrashDisk(), Model()
    end = ENDS[seed % len(ENDS)]
    storage = Storage(disk, config)
    storage.recover()
    disk.budget = None if end == "rest-flip" else source.randint(0, 90)
    disk.error = end if end in ("EIO", "ENOSPC") else None
    with suppress(Crash, DiskError):
        _write(storage, model, source)
        if end == "rest-flip":
            storage.sync()
            model.acknowledge()
            storage.rest()
    disk.budget = disk.error = None
    if end.endswith("flip"):
        disk.kill()
    else:
        disk.crash(source)
    flipped = _flip(disk, source) if end.endswith("flip") else None
    return _judge(disk, config, model, flipped)


def _write(storage: Storage, model: Model, source: random.Random) -> None:
    script = Script()
    for _ in range(source.randint(3, 25)):
        step = _draw(source)
        if step.kind == "sync":
            storage.sync()
            model.acknowledge()
            if source.random() < 0.3:
                storage.rest()
            continue
        effect = script.effect(step, model.now)
        if effect is not None:
            model.apply(effect)
            storage.write(effect)


def _draw(source: random.Random) -> Step:
    kind = source.choice(("append",) * 5 + ("cut", "vote", "snapshot", "reset") + ("sync",) * 4)
    match kind:
        case "append":
            return Step(kind, source.randint(1, 4), source.choice((0, 1, 30, 200, 700)))
        case "cut":
            return Step(kind, source.randint(1, 6), source.randint(0, 120))
        case _:
            return Step(kind, source.randint(0, 4), source.randint(0, 3))


def _flip(disk: CrashDisk, source: random.Random) -> str | None:
    names = [name for name, file in sorted(disk.live.items()) if file.content.rstrip(b"\0")]
    if not names:
        return None
    name = source.choice(names)
    file = disk.live[name]
    place = source.randrange(len(file.content.rstrip(b"\0")))
    file.content[place] ^= 1 << source.randrange(8)
    file.durable = bytes(file.content)
    return f"{name} at byte {place}"


def _judge(disk: CrashDisk, config: ClusterConfig, model: Model, flipped: str | None) -> str:
    try:
        recovered = Storage(disk, config).recover()
    except CorruptLog as refusal:
        assert flipped, f"a crash alone was refused: {refusal}"
        assert refusal.segment in disk.live or refusal.segment.startswith(("wal-", "snapshot-"))
        assert refusal.offset >= 0 and refusal.reason
        return "refused"
    if recovered.damage is None:
        model.restart(recovered)
        return "whole"
    assert flipped, f"a crash was taken for damage: {recovered.damage}"
    _judge_damage(recovered, model)
    again = Storage(disk, config).recover()
    assert again.damage is not None and again.hard_state == recovered.hard_state
    return "damage"


def _judge_damage(recovered: Recovered, model: Model) -> None:
    """The vote is there, and the entry that was promised last is known."""
    damage, owed = recovered.damage, model.states[model.acknowledged]
    assert damage is not None and damage.reason and damage.offset >= 0
    assert newer(recovered.hard_state, owed.hard_state) == recovered.hard_state, (recovered, owed)
    if owed.entries:
        last = owed.entries[-1]
        assert (damage.generation, damage.index) >= (last.generation, last.index), (damage, last)

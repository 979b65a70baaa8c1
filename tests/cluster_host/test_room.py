"""What a node takes while its disk is full, with a core that leads and a disk that is simulated."""

from __future__ import annotations

from cluster.host.room import HAND_OVER_S, Room
from cluster.simulation.world import SECOND, World
from cluster.wire import (
    AppendEntries,
    Command,
    Entry,
    Heartbeat,
    InstallSnapshot,
    Request,
)

COMMAND = Entry(1, 1, "command", b"x" * 400)
NOOP = Entry(1, 1, "noop")
WRITE = Request(7, "s", 1, 1, Command("put", "x", (1,)))
READ = Request(8, "s", 0, 1, Command("get", "x"))
HAND_OVER = Request(0, "", 0, 0, Command("transfer", ""))


class Scene:
    """A room, its clock, and what it said of changes."""

    def __init__(self, *, leads: bool = True) -> None:
        world = World(seed=1, nodes=("n1",) if leads else ("n1", "n2", "n3"))
        world.run_for(2 * SECOND if leads else 1)
        core = world.core("n1")
        assert core is not None and (core.status()["role"] == "leader") is leads
        self.now_s = 0.0
        self.changes: list[bool] = []
        self.disk = world._node("n1").disk
        self.room = Room(
            self.disk,
            core,
            node="n1",
            segment_bytes=1,
            changed=self.changes.append,
            now_s=lambda: self.now_s,
        )

    def fill(self, full: bool, at_s: float) -> None:
        self.disk.set({"full": full})
        self.now_s = at_s


def test_entries_are_refused_while_the_disk_is_full_and_nothing_else_is() -> None:
    scene = Scene()
    room = scene.room
    entries = AppendEntries(1, 0, 0, (NOOP, COMMAND), 0)
    chunk = InstallSnapshot(1, 1, 1, ("n1",), 0, b"", True)
    assert room.refusal(WRITE) is None and not room.drops(entries) and not room.drops(chunk)
    scene.fill(True, 1.0)
    refusal = room.refusal(WRITE)
    assert refusal is not None and (refusal.id, refusal.status) == (7, "retry")
    assert refusal.error == "the disk of n1 is full: it takes no entries"
    assert room.drops(entries) and room.drops(chunk)
    assert room.refusal(READ) is None
    assert not room.drops(AppendEntries(1, 0, 0, (NOOP,), 0)) and not room.drops(Heartbeat(1, 1, 1))
    assert scene.disk.counts["full"] == 3
    scene.fill(False, 9.0)
    assert room.refusal(WRITE) is None
    assert scene.changes == [True, False]


def test_a_leader_without_room_hands_over_once() -> None:
    scene = Scene()
    scene.fill(True, 1.0)
    assert scene.room.hand_over() is None
    scene.now_s += HAND_OVER_S + 0.5
    assert scene.room.hand_over() == HAND_OVER
    assert scene.room.hand_over() is None, "once"


def test_who_does_not_lead_redirects_as_ever_and_hands_nothing_over() -> None:
    scene = Scene(leads=False)
    scene.fill(True, 1.0)
    assert scene.room.refusal(WRITE) is None and scene.room.full
    scene.now_s += HAND_OVER_S + 0.5
    assert scene.room.hand_over() is None

"""All kinds of faults by name, and which of them a consensus variant can have."""

from __future__ import annotations

from collections.abc import Callable

from cluster.core.parts import CONSENSUS
from cluster.simulation import file_damage
from cluster.simulation.faults import clocks, disks, leadership, links, partitions, processes
from cluster.simulation.faults.context import FaultContext, Injected
from cluster.simulation.faults.disks import MEMBERSHIP

KINDS: dict[str, Callable[[FaultContext], Injected]] = {
    "partition": links.partition,
    "packets": links.bad_packets,
    "held-frame": links.held_frame,
    "crash": processes.crash,
    "crash-many": processes.crash_many,
    "pause": processes.pause,
    "clock": clocks.wrong_clock,
    "disk": disks.bad_disk,
    "disk-once": disks.one_error,
    "power": disks.power_loss,
    "disk-lost-tail": disks.damage_at_rest(("lost-tail",)),
    "disk-flip": disks.damage_at_rest(("flip",)),
    "disk-damage": disks.damage_at_rest(file_damage.KINDS),
    "transfer": leadership.transfer,
    MEMBERSHIP: leadership.membership,
    "clock-bounded": clocks.clock_within_bound,
    "partition-move": partitions.move,
    "partition-split": partitions.split,
    "partition-merge": partitions.merge,
}
#: Faults of role data alone; transactions draw them (:mod:`cluster.simulation.data_profiles`).
OF_DATA = frozenset({"clock-bounded", "partition-move", "partition-split", "partition-merge"})
#: Never drawn: they happen where they are asked for.
ASKED_FOR = frozenset({"disk-lost-tail", "disk-flip", "disk-damage"}) | OF_DATA
#: The faults of the calm profile.
CALM_KINDS = ("partition", "packets", "crash", "crash-many", "pause", "clock", "disk")
#: A kind -> the attribute of a variant's parts that says whether the variant can do it.
NEEDS = {"transfer": "hands_over", MEMBERSHIP: "changes_members"}

#: A role -> the faults that change nothing there: no leader to move, or founders for ever.
_WITHOUT = {
    "paxos": frozenset({"transfer", MEMBERSHIP}),
    "leaderless": frozenset({"transfer"}),
    "data": frozenset({MEMBERSHIP}),
}
_OF_PARTITIONS = OF_DATA - {"clock-bounded"}


def lacking_in(role: str) -> frozenset[str]:
    """The kinds of faults that nodes of a role cannot have."""
    return _WITHOUT.get(role, frozenset()) | (frozenset() if role == "data" else _OF_PARTITIONS)


def kinds_for(consensus: str) -> tuple[str, ...]:
    """The kinds of faults that are drawn for a variant, which it can have.

    Raises:
        ValueError: there is no such variant.
    """
    if consensus not in CONSENSUS:
        raise ValueError(f"there is no consensus {consensus!r}: {', '.join(CONSENSUS)}")
    parts = CONSENSUS[consensus]
    drawn = [kind for kind in KINDS if kind not in ASKED_FOR]
    return tuple(k for k in drawn if k not in NEEDS or getattr(parts, NEEDS[k], False))


def faults_of(nemesis: str) -> tuple[str, ...]:
    """The kinds of faults a nemesis stands for: ``kill`` is ``crash`` and ``crash-many``.

    Raises:
        ValueError: a word of it has no fault here.
    """
    kinds: list[str] = []
    for word in nemesis.replace(" ", "").split(","):
        found = ("crash", "crash-many") if word == "kill" else (word,)
        if found[0] not in KINDS:
            raise ValueError(f"there is no fault {word!r}; there are kill, {', '.join(KINDS)}")
        kinds.extend(found)
    return tuple(sorted(set(kinds)))

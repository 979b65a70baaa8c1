"""The catalogue as data: the thirty patterns, what each must do, and where it is in this code.

The patterns are those of Unmesh Joshi, *Patterns of Distributed Systems* (2023). Every one has a
module named after it, so that a reader of the book finds every room by its door; the duties here
are the testable ones, in a sentence. Ablation ids are the catalogue's: each removes one decision of
the pattern, and those that are built are in :mod:`cluster.ablations`.

Whether a pattern is built is not claimed but looked up: its module exists or it does not. Used by
``harness patterns``, the documentation and the tests.
"""

from __future__ import annotations

import importlib.util
from functools import cache

import msgspec

#: What a table says where a pattern's module does not exist.
NOT_BUILT = "not built yet"


class Pattern(msgspec.Struct, frozen=True):
    """One pattern of the catalogue.

    Args:
        number: its number in the catalogue, 1 to 30.
        name: as in the book.
        module: where it is, or will be.
        duty: what must hold, testably.
        ablations: ids of the catalogue's ablations of it, built or not.
    """

    number: int
    name: str
    module: str
    duty: str
    ablations: tuple[str, ...]

    @property
    def slug(self) -> str:
        """The name as a module is called: ``write_ahead_log``."""
        return self.module.rpartition(".")[2]

    @property
    def built(self) -> bool:
        """Whether its module exists."""
        return _exists(self.module)

    @property
    def where(self) -> str:
        """The file that holds it, or that it is not built yet."""
        return self.module.replace(".", "/") + ".py" if self.built else NOT_BUILT


@cache
def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _pattern(number: int, name: str, module: str, duty: str, ablations: str = "") -> Pattern:
    return Pattern(number, name, f"cluster.{module}", duty, tuple(ablations.split()))


PATTERNS: tuple[Pattern, ...] = (
    _pattern(
        1, "Write-Ahead Log", "log.write_ahead_log",
        "Nothing is acknowledged before it is durable; recovery yields the longest valid prefix; "
        "only a tail that was never acknowledged may be cut; a failed sync stops the node.",
        "A01 A02 A03a A03b A03c A04 A05 A06 A20e A67j A68k",
    ),
    _pattern(
        2, "Segmented Log", "log.segmented_log",
        "The log rolls over at a size, with no gap or overlap at the boundary, and finds the "
        "segment of an index at once.",
        "A02 A07",
    ),
    _pattern(
        3, "Low-Water Mark", "log.low_water_mark",
        "Nothing is deleted that the durable snapshot, a slow follower or a reader still needs.",
        "A08a A08b A08c A08d",
    ),
    _pattern(
        4, "Leader and Followers", "consensus.leader_and_followers",
        "At most one leader in a generation; only it assigns indexes; its log has everything "
        "committed before.",
        "A09 A59 A64 A65 A67a A67d A67e A67g A67h A68a",
    ),
    _pattern(
        5, "HeartBeat", "consensus.heartbeat",
        "A failure is noticed in bounded time, on a path that a slow disk does not block.",
        "A10a A10b A10c A10d A66",
    ),
    _pattern(
        6, "Majority Quorum", "consensus.majority_quorum",
        "Any two quorums share a node.",
        "A11 A11c A11d A11e A56 A57 A58 A60 A61 A67i A68b A68c A68g A68j",
    ),
    _pattern(
        7, "Generation Clock", "clocks.generation_clock",
        "Generations only grow, are durable, and are in every message and every answer; the lower "
        "one is refused, the higher one makes a leader step down.",
        "A04 A12 A13 A19 A67b A67c A68d A68e",
    ),
    _pattern(
        8, "High-Water Mark", "consensus.high_water_mark",
        "Only what is at or below it is visible; it never goes back; logs are truncated by "
        "generation, not by it.",
        "A14a A15 A16 A17 A18 A68f",
    ),
    _pattern(
        9, "Paxos", "consensus.paxos",
        "Once a value is chosen, no other ever is; promises and acceptances are durable first.",
        "A20 A20b A20c A20d A20p A20q A21 A21b A21c A21p A22 A22p A22q A23 A23b A23c A24 "
        "A24b A24p A24q",
    ),
    _pattern(
        10, "Replicated Log", "consensus.replicated_log",
        "An index and a generation name one entry everywhere; equal prefixes give equal states.",
        "A16 A25 A62 A63 A67f A68h",
    ),
    _pattern(
        11, "Singular Update Queue", "channel.singular_update_queue",
        "One writer: no command's read and write are interleaved with another's; a full queue "
        "says so.",
        "A26 A26b A26c",
    ),
    _pattern(
        12, "Request Waiting List", "channel.request_waiting_list",
        "A request is answered once, after its entry is committed and applied; when leadership is "
        "lost its outcome is unknown, not failed.",
        "A27a A27b A27c A27d",
    ),
    _pattern(
        13, "Idempotent Receiver", "channel.idempotent_receiver",
        "A session's numbered request is applied at most once, across retries, leaders, restarts "
        "and snapshots.",
        "A28a A28b A28c A08d",
    ),
    _pattern(
        14, "Follower Reads", "data.follower_reads",
        "Each read has a declared mode and keeps it; a session never goes back in time.",
        "A29 A29b A29c A30 A31 A32 A33 A33b A43b A43c A68i",
    ),
    _pattern(
        15, "Versioned Value", "data.versioned_value",
        "A snapshot read at a version sees exactly what was committed up to it.",
        "A34a A34b A34c A34d A34e A08c",
    ),
    _pattern(
        16, "Version Vector", "clocks.version_vector",
        "Concurrent writes are recognised and kept until a later write knew them.",
        "A35a A35b A35c A35d A35e",
    ),
    _pattern(
        17, "Fixed Partitions", "data.fixed_partitions",
        "A key's partition never changes; the map of partitions to nodes is versioned in the core.",
        "A36a A36b A48",
    ),
    _pattern(
        18, "Key-Range Partitions", "data.key_range_partitions",
        "Ranges tile the key space exactly; a split or merge is atomic and raises the epoch.",
        "A37 A37b",
    ),
    _pattern(
        19, "Two-Phase Commit", "data.two_phase_commit",
        "All or none, for durability and for visibility; votes and decisions are durable before "
        "anyone is told.",
        "A38 A38b A39 A39b A40 A41 A42 A43 A44 A44b A44c A44d A44e",
    ),
    _pattern(
        20, "Lamport Clock", "clocks.lamport_clock",
        "A timestamp is above every one seen before it, across restarts.",
        "A45a A45b",
    ),
    _pattern(
        21, "Hybrid Clock", "clocks.hybrid_clock",
        "Timestamps grow with causality and stay within the bound of physical time.",
        "A46a A46b A46c A46d A46e",
    ),
    _pattern(
        22, "Clock-Bound Wait", "clocks.clock_bound_wait",
        "A commit becomes visible only when its timestamp is past on every clock.",
        "A47a A47b A47c",
    ),
    _pattern(
        23, "Consistent Core", "core.replica",
        "A small consistent cluster decides placement, membership and leases; data nodes never do "
        "by themselves.",
        "A48 A48b A48c",
    ),
    _pattern(
        24, "Lease", "core.lease",
        "One unexpired holder by the granter's clock; the holder's view of it ends earlier; a "
        "fencing token guards the resource.",
        "A13 A49a A49b A49c A49d A49e A49f A49g",
    ),
    _pattern(
        25, "State Watch", "core.state_watch",
        "Events are ordered, without gap or duplicate, committed only, and resumable from a "
        "revision.",
        "A50a A50b A50c A50d A50e A08c",
    ),
    _pattern(
        26, "Gossip Dissemination", "gossip.gossip_dissemination",
        "News reaches all in O(log n) rounds at bounded cost, and suspicion can be refuted.",
        "A51a A51b A51c A51d",
    ),
    _pattern(
        27, "Emergent Leader", "gossip.emergent_leader",
        "All with one view name one leader, which acts only in a majority of the last view.",
        "A52 A52b A52c A52d A52e",
    ),
    _pattern(
        28, "Single-Socket Channel", "channel.single_socket_channel",
        "Messages between two nodes arrive in order; a new connection is a new epoch, and frames "
        "of the old one are dropped.",
        "A53 A53b",
    ),
    _pattern(
        29, "Request Batch", "channel.request_batch",
        "A batch is atomic in the log or acknowledged item by item, and never applied in part "
        "twice.",
        "A54 A54b",
    ),
    _pattern(
        30, "Request Pipeline", "channel.request_pipeline",
        "Several requests in flight, in order, within a window that resets on a refusal.",
        "A55 A55b",
    ),
)  # fmt: skip


def find_pattern(name: str) -> Pattern | None:
    """The pattern of this number, name or slug, whatever the case; None if there is none."""
    wanted = name.strip().lower().replace("-", "_").replace(" ", "_")
    for pattern in PATTERNS:
        known = pattern.name.lower().replace("-", "_").replace(" ", "_")
        if wanted in (str(pattern.number), known, pattern.slug):
            return pattern
    return None

"""The effect of a faulty link on one message: a pure decision, apart from any socket.

A :class:`Shaper` belongs to one directed link. It is asked about each message in order and answers
when copies of it are to be delivered: an empty answer loses it. Delays keep the order of messages
(as one TCP connection does) except for those a ``reorder`` fault holds back, which others overtake.

Two kinds of traffic:

- ``frames``: whole messages of a protocol that expects a lossy network. A cut loses them; loss,
  duplication and reordering happen to each. A corrupted message is lost, since a real network's
  checksum would find it; it is counted as corrupted.
- ``bytes``: pieces of a TCP stream, from which nothing may vanish. A lost or corrupted piece comes
  late, as TCP sends it again after its retransmission timeout; duplication and reordering are
  hidden by TCP and do nothing. A cut is not decided here: the stream is held back until it is
  healed, see :mod:`harness.environments.network.proxy_flow`.
"""

from __future__ import annotations

from random import Random

from harness.environments.base import LinkFault

HEALTHY = LinkFault()
COUNTERS = ("passed", "dropped", "delayed", "duplicated", "reordered", "corrupted", "held")
#: Linux's minimum retransmission timeout
RETRANSMIT_NS = 200_000_000
#: a reordered message is held back by up to this much beyond the link's delay
REORDER_NS_MAX = 20_000_000


class Shaper:
    """Decides for each message of a directed link; counts what it did.

    Args:
        rng: the link's own randomness.
    """

    def __init__(self, rng: Random) -> None:
        self.fault = HEALTHY
        self.counters: dict[str, int] = dict.fromkeys((*COUNTERS, "bytes"), 0)
        self._rng = rng
        self._busy_until_ns = 0

    @property
    def healthy(self) -> bool:
        """Whether messages pass untouched."""
        return self.fault == HEALTHY

    def set(self, fault: LinkFault) -> None:
        """The link is like this from now on."""
        self.fault = fault
        if not fault.rate_bytes_per_s:
            self._busy_until_ns = 0

    def frame(self, now_ns: int, size_bytes: int) -> tuple[tuple[int, bool], ...]:
        """When to deliver copies of a message.

        Returns:
            (time, ordered) of each copy; an unordered one may be overtaken. Empty if it is lost.
        """
        fault, count = self.fault, self.counters
        if fault.cut or self._chance(fault.loss):
            count["dropped"] += 1
            return ()
        if self._chance(fault.corrupt):
            count["corrupted"] += 1
            return ()
        count["passed"] += 1
        due_ns = self._due_ns(now_ns, size_bytes)
        ordered = not self._chance(fault.reorder)
        if not ordered:
            count["reordered"] += 1
            due_ns += self._rng.randint(1, REORDER_NS_MAX)
        if self._chance(fault.duplicate):
            count["duplicated"] += 1
            return ((due_ns, ordered), (due_ns + self._rng.randint(0, REORDER_NS_MAX), False))
        return ((due_ns, ordered),)

    def piece(self, now_ns: int, size_bytes: int) -> int:
        """When to deliver a piece of a byte stream."""
        fault, count = self.fault, self.counters
        count["passed"] += 1
        due_ns = self._due_ns(now_ns, size_bytes)
        if self._chance(fault.loss):
            count["dropped"] += 1
            due_ns += RETRANSMIT_NS
        elif self._chance(fault.corrupt):
            count["corrupted"] += 1
            due_ns += RETRANSMIT_NS
        return due_ns

    def _due_ns(self, now_ns: int, size_bytes: int) -> int:
        fault = self.fault
        if fault.rate_bytes_per_s:
            sent_ns = size_bytes * 1_000_000_000 // fault.rate_bytes_per_s
            now_ns = self._busy_until_ns = max(now_ns, self._busy_until_ns) + sent_ns
        if fault.delay_ns or fault.jitter_ns or fault.rate_bytes_per_s:
            self.counters["delayed"] += 1
        jitter_ns = self._rng.randint(0, fault.jitter_ns) if fault.jitter_ns else 0
        return now_ns + fault.delay_ns + jitter_ns

    def _chance(self, probability: float) -> bool:
        return probability > 0 and self._rng.random() < probability

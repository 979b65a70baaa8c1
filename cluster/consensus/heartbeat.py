"""HeartBeat: a regular sign of life, numbered, on a path that a slow disk cannot block.

Problem. Silence means a dead node, a cut link or a busy one, and the others must act in bounded
time without taking a slow disk for a death.

Solution. The leader sends a heartbeat on every interval, apart from the log: it waits for no write.
Followers answer at once. Each heartbeat carries a growing round number and answers echo it, so an
answer proves that its sender still followed *after that round was sent*: the ReadIndex pattern and
lease reads rest on it. A leader that hears no quorum for a whole election timeout steps down
(CheckQuorum), so that clients of a half-cut leader are not kept waiting.

Invariants. A failure is noticed within [timeout, timeout + interval + delay]. An answer to round r
says nothing about a round after r.

What breaks without it. A10b: a heartbeat behind fsync turns a slow disk into elections. A10c: no
heartbeat, no failover. A33b: an answer without its round confirms a read it came before. A66: a
leader that can send but not hear keeps everybody hostage.

Source: Joshi, "HeartBeat"; Raft thesis 6.2 (CheckQuorum), 6.4. Pure bookkeeping of one leadership.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable


class HeartbeatRounds:
    """Rounds sent and answered, and when each peer was last heard, in one leadership.

    Args:
        peers: the other members.
        now_ns: when the leadership began; everybody counts as heard then.
    """

    __slots__ = ("_answered", "_heard_ns", "_sent", "confirmed", "confirmed_sent_ns", "sent")

    def __init__(self, peers: Iterable[str], now_ns: int) -> None:
        self._answered: dict[str, int] = dict.fromkeys(peers, 0)
        self._heard_ns: dict[str, int] = dict.fromkeys(self._answered, now_ns)
        self._sent: deque[tuple[int, int]] = deque()
        self.sent = 0
        self.confirmed = 0
        self.confirmed_sent_ns = -1

    def admit(self, peer: str, now_ns: int) -> None:
        """A peer joins; it counts as heard now, and has answered nothing."""
        self._answered.setdefault(peer, 0)
        self._heard_ns.setdefault(peer, now_ns)

    def forget(self, peer: str) -> None:
        """A peer left."""
        self._answered.pop(peer, None)
        self._heard_ns.pop(peer, None)

    def next_round(self, now_ns: int) -> int:
        """Number a new round, about to be sent."""
        self.sent += 1
        self._sent.append((self.sent, now_ns))
        return self.sent

    def heard(self, peer: str, now_ns: int) -> None:
        """A peer said something in this generation."""
        if peer in self._heard_ns:
            self._heard_ns[peer] = now_ns

    def answered(self, peer: str, round: int) -> None:
        """A peer answered a round; answers out of order and to rounds never sent do not count."""
        if peer in self._answered and self._answered[peer] < round <= self.sent:
            self._answered[peer] = round

    def answered_round(self, peer: str) -> int:
        """The latest round a peer has answered; 0 if none."""
        return self._answered.get(peer, 0)

    def heard_ns(self, peer: str) -> int:
        """When a peer was last heard."""
        return self._heard_ns.get(peer, 0)

    def confirm(self, round: int) -> int:
        """A quorum has answered ``round``; the latest round for which that is so."""
        if round > self.confirmed:
            self.confirmed = round
            while self._sent and self._sent[0][0] <= round:
                self.confirmed_sent_ns = self._sent.popleft()[1]
        return self.confirmed

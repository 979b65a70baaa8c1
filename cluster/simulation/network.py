"""The simulated network: a directed link per ordered pair of endpoints, with faults and counts.

Peers and clients speak length-prefixed frames over TCP. The unit of simulation is the frame: by
default a link delivers frames in order, as one connection does, each after a delay drawn from the
profile. Faults are those of an in-path proxy which understands frames: it may drop one, delay it,
send it twice or let later ones overtake it. A profile with ``ordered=False`` behaves as datagrams
would, which TCP forbids and a second connection per peer would bring back (Single-Socket Channel).

Connections have epochs, as everywhere (:mod:`cluster.channel.single_socket_channel`). When an
endpoint dies, frames on their way *to* it are lost with its kernel's buffers; frames it had sent
may still arrive, until the first frame of its next connection does.
The network itself counts the connections of a link. A frame that is taken after one of a later
connection is reported (``disordered``), whatever the epochs say.

Every link counts what it did. A fault which no frame met was no fault, and the counters show it.

``src`` and ``dst`` are names of nodes or of clients. Used by the world; a harness sets faults with
:meth:`Network.set_links` and reads evidence with :meth:`Network.counters`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple, Protocol

import msgspec

from cluster.channel.single_socket_channel import ChannelParts
from cluster.simulation.heap import EventHeap

US = 1_000

#: The counters of a link, in the order shown.
COUNTERS = ("passed", "dropped", "delayed", "duplicated", "reordered", "corrupted")

_encoder = msgspec.msgpack.Encoder()


class LinkFault(msgspec.Struct, frozen=True, omit_defaults=True):
    """The faults of one directed link; all zero means healthy.

    Args:
        cut: nothing passes, frames already under way included.
        delay_ns: added one-way latency.
        jitter_ns: uniform extra latency in [0, jitter_ns].
        loss, duplicate, reorder, corrupt: probabilities per frame, 0 to 1. A corrupt frame fails
            its check at the receiver, which closes the connection: frames under way are lost.
        rate_bytes_per_s: bandwidth limit, 0 for none.
    """

    cut: bool = False
    delay_ns: int = 0
    jitter_ns: int = 0
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    corrupt: float = 0.0
    rate_bytes_per_s: int = 0


class FaultLike(Protocol):
    """Anything with the fields of :class:`LinkFault`: an environment's own struct does."""

    @property
    def cut(self) -> bool: ...
    @property
    def delay_ns(self) -> int: ...
    @property
    def jitter_ns(self) -> int: ...
    @property
    def loss(self) -> float: ...
    @property
    def duplicate(self) -> float: ...
    @property
    def reorder(self) -> float: ...
    @property
    def corrupt(self) -> float: ...
    @property
    def rate_bytes_per_s(self) -> int: ...


class NetworkProfile(msgspec.Struct, frozen=True, kw_only=True):
    """The behaviour of the network without injected faults.

    Args:
        delay_min_ns, delay_max_ns: bounds of the uniform one-way delay.
        slow_probability: chance that a frame takes up to ``slow_ns`` longer.
        slow_ns: how much longer at most.
        ordered: frames of a link arrive in order (TCP); False for datagrams.
        loss, duplicate: probabilities per frame, without any fault injected.
    """

    delay_min_ns: int = 100 * US
    delay_max_ns: int = 600 * US
    slow_probability: float = 0.0
    slow_ns: int = 0
    ordered: bool = True
    loss: float = 0.0
    duplicate: float = 0.0


class Socket(NamedTuple):
    """One connection of a link.

    Args:
        number: how many connections the link had, this one included.
        epoch: what the sender's end of the channel says.
    """

    number: int
    epoch: int


class HeldFrame(NamedTuple):
    """A frame kept back, and the connection it was sent on."""

    frame: Any
    socket: Socket


class Link:
    """One direction between two endpoints.

    Args:
        src, dst: the endpoints.
        channels: the classes of the two ends.
    """

    __slots__ = (
        "bytes",
        "counts",
        "dst",
        "fault",
        "free_at_ns",
        "held",
        "hold",
        "incoming",
        "last_at_ns",
        "newest",
        "outgoing",
        "socket",
        "src",
        "stream",
    )

    def __init__(self, src: str, dst: str, channels: ChannelParts) -> None:
        self.src = src
        self.dst = dst
        self.fault: FaultLike | None = None
        self.outgoing = channels.outgoing()
        self.incoming = channels.incoming()
        self.socket = Socket(1, self.outgoing.open())
        #: number of the latest connection of which a frame was taken
        self.newest = 0
        self.last_at_ns = 0
        self.free_at_ns = 0
        self.counts = [0] * len(COUNTERS)
        #: of frames that passed, where the network weighs them
        self.bytes = 0
        #: whether it carries a client's connection, on which no frame comes twice
        self.stream = False
        #: frames kept back by a directed schedule, and the rule that says which
        self.hold: Callable[[Any], bool] | None = None
        self.held: list[HeldFrame] = []

    def reconnect(self) -> None:
        """The sender connects anew; what it sent before may still be under way."""
        self.socket = Socket(self.socket.number + 1, self.outgoing.open())

    def reset(self) -> None:
        """The connection ends at both ends: frames under way are lost."""
        self.reconnect()
        taken = self.incoming.takes(self.socket.epoch)
        assert taken, "the newest connection of a sender is the newest its receiver can have seen"
        self.newest = self.socket.number


PASSED, DROPPED, DELAYED, DUPLICATED, REORDERED, CORRUPTED = range(len(COUNTERS))


class Network:
    """All links.

    Args:
        heap: virtual time.
        profile: what the network is like without faults.
        source: randomness of delays and faults.
        deliver: called with (src, dst, frame) when a frame arrives.
        channels: the classes of the ends of links.
        disordered: called with (src, dst) when a frame of an old connection is taken after one of a
            newer connection.
    """

    def __init__(
        self,
        heap: EventHeap,
        profile: NetworkProfile,
        source: random.Random,
        deliver: Callable[[str, str, Any], None],
        *,
        channels: ChannelParts = ChannelParts(),  # noqa: B008 (frozen)
        disordered: Callable[[str, str], None] = lambda src, dst: None,
    ) -> None:
        if not 0 <= profile.delay_min_ns <= profile.delay_max_ns:
            raise ValueError(
                f"the network's delay must be 0 <= min <= max, and it is "
                f"{profile.delay_min_ns} to {profile.delay_max_ns} ns"
            )
        self.profile = profile
        #: whether frames are weighed: it costs an encoding of each
        self.weighs = False
        self._heap = heap
        self._random = source.random
        self._deliver = deliver
        self._channels, self._disordered = channels, disordered
        self._links: dict[tuple[str, str], Link] = {}
        self._faulty: list[Link] = []
        self._delay_span_ns = profile.delay_max_ns - profile.delay_min_ns + 1
        self._plain = not (profile.slow_probability or profile.loss or profile.duplicate)

    def link(self, src: str, dst: str) -> Link:
        """The link from ``src`` to ``dst``, made when first asked for."""
        link = self._links.get((src, dst))
        if link is None:
            link = self._links[src, dst] = Link(src, dst, self._channels)
        return link

    # -- faults and evidence

    def set_links(self, faults: Mapping[tuple[str, str], FaultLike]) -> None:
        """Make the network so: each (source, target) named has its fault, others are healthy."""
        for link in self._faulty:
            link.fault = None
        self._faulty = []
        for (src, dst), fault in faults.items():
            link = self.link(src, dst)
            link.fault = fault
            self._faulty.append(link)

    def faults(self) -> dict[tuple[str, str], FaultLike]:
        """The faults in force."""
        return {(k.src, k.dst): k.fault for k in self._faulty if k.fault is not None}

    def counters(self) -> dict[tuple[str, str], dict[str, int]]:
        """Per directed link that was ever used: what it did to frames, since the run began."""
        return {key: dict(zip(COUNTERS, link.counts)) for key, link in self._links.items()}

    def bytes_sent(self, source: str, targets: Collection[str]) -> int:
        """Bytes that arrived at targets from a source, as far as frames were weighed."""
        return sum(
            self._links[ends].bytes
            for target in targets
            if (ends := (source, target)) in self._links
        )

    # -- frames

    def send(self, src: str, dst: str, frame: Any) -> None:
        """Put a frame on its way. It arrives, or it does not."""
        link = self._links.get((src, dst)) or self.link(src, dst)
        if link.hold is not None and link.hold(frame):
            link.held.append(HeldFrame(frame, link.socket))
            return
        self.transmit(link, frame, link.socket)

    def transmit(self, link: Link, frame: Any, socket: Socket) -> None:
        """Send past any hold: what a directed schedule does to a frame it lets go.

        Args:
            link: on which link.
            frame: what.
            socket: the connection it was sent on.
        """
        profile = self.profile
        delay_ns = profile.delay_min_ns + int(self._random() * self._delay_span_ns)
        if self._plain and link.fault is None:
            at_ns = self._heap.now_ns + delay_ns
            if profile.ordered:
                if at_ns < link.last_at_ns:
                    at_ns = link.last_at_ns
                link.last_at_ns = at_ns
            self._heap.push(at_ns, self._arrive, link, socket, frame)
            return
        self._transmit_badly(link, frame, socket, delay_ns)

    def _transmit_badly(self, link: Link, frame: Any, socket: Socket, delay_ns: int) -> None:
        profile, chance, counts = self.profile, self._random, link.counts
        fault: FaultLike = link.fault if link.fault is not None else _HEALTHY
        if fault.cut or chance() < fault.loss or chance() < profile.loss:
            counts[DROPPED] += 1
            return
        if fault.corrupt and chance() < fault.corrupt:
            counts[CORRUPTED] += 1
            link.reset()
            return
        if profile.slow_probability and chance() < profile.slow_probability:
            delay_ns += int(chance() * profile.slow_ns)
        if fault.delay_ns or fault.jitter_ns:
            counts[DELAYED] += 1
            delay_ns += fault.delay_ns + int(chance() * fault.jitter_ns)
        at_ns = self._heap.now_ns + delay_ns
        if fault.rate_bytes_per_s:
            counts[DELAYED] += not (fault.delay_ns or fault.jitter_ns)
            at_ns = self._through_bottleneck(link, frame, fault.rate_bytes_per_s, delay_ns)
        overtakes = fault.reorder and chance() < fault.reorder
        if overtakes:  # it waits, and does not make later frames wait
            counts[REORDERED] += 1
            at_ns += int(chance() * 10 * profile.delay_max_ns)
        elif profile.ordered:
            at_ns = link.last_at_ns = max(at_ns, link.last_at_ns)
        self._heap.push(at_ns, self._arrive, link, socket, frame)
        if (chance() < fault.duplicate or chance() < profile.duplicate) and not link.stream:
            counts[DUPLICATED] += 1
            again_ns = at_ns + int(chance() * 4 * profile.delay_max_ns)
            self._heap.push(again_ns, self._arrive, link, socket, frame)

    def _through_bottleneck(self, link: Link, frame: Any, rate: int, delay_ns: int) -> int:
        size = frame_bytes(frame)
        start_ns = max(self._heap.now_ns, link.free_at_ns)
        link.free_at_ns = start_ns + size * 1_000_000_000 // rate
        return link.free_at_ns + delay_ns

    def _arrive(self, link: Link, socket: Socket, frame: Any) -> None:
        fault = link.fault
        if (fault is not None and fault.cut) or not link.incoming.takes(socket.epoch):
            link.counts[DROPPED] += 1
            return
        if socket.number < link.newest:
            self._disordered(link.src, link.dst)
        link.newest = socket.number
        link.counts[PASSED] += 1
        if self.weighs:
            link.bytes += frame_bytes(frame)
        self._deliver(link.src, link.dst, frame)

    def release_held(self) -> None:
        """Hold nothing back any more, and let what is held go."""
        for link in self._links.values():
            link.hold = None
            held, link.held[:] = link.held[:], []
            for frame, socket in held:
                self.transmit(link, frame, socket)

    # -- connections

    def disconnect(self, name: str) -> None:
        """An endpoint died: what was on its way to it is lost, its next frames are a new epoch."""
        for link in self._links.values():
            if link.dst == name:
                link.reset()
                link.held.clear()
            elif link.src == name:
                link.reconnect()


_HEALTHY = LinkFault()


def frame_bytes(frame: Any) -> int:
    """A frame's size on a wire: its length before it, and itself."""
    return 4 + len(_encoder.encode(frame))

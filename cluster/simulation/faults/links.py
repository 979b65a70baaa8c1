"""Faults of the network: partitions, bad packets, and one frame that comes much too late."""

from __future__ import annotations

from typing import Any

import msgspec

from cluster.simulation.faults.context import FaultContext, Injected
from cluster.simulation.network import LinkFault

MS = 1_000_000


def partition(at: FaultContext) -> Injected:
    """One node, or half of them, apart from the others; both ways or one way."""
    nodes = list(at.world.nodes)
    at.random.shuffle(nodes)
    if at.random.random() < 0.6:
        victim = at.one()
        left, right = [victim], [node for node in nodes if node != victim]
    else:
        middle = len(nodes) // 2
        left, right = nodes[:middle], nodes[middle:]
    if at.options.cut_clients:
        for client in at.world.sessions():
            (left if at.random.random() < 0.5 else right).append(client)
    both_ways = at.random.random() < 0.7
    cuts = {(a, b): LinkFault(cut=True) for a in left for b in right}
    if both_ways:
        cuts.update({(b, a): LinkFault(cut=True) for a in left for b in right})
    value = {"groups": [left, right], "both_ways": both_ways}
    return Injected([*left, *right], value, at.links.set("cuts", cuts))


def bad_packets(at: FaultContext) -> Injected:
    """Frames of some links are late, lost, doubled, overtaken or broken."""
    chance = at.random.random
    fault = LinkFault(
        delay_ns=at.random.choice((0, 5, 50)) * MS,
        jitter_ns=at.random.choice((0, 10, 100)) * MS,
        loss=at.random.choice((0.0, 0.1, 0.5)),
        duplicate=at.random.choice((0.0, 0.1)),
        reorder=at.random.choice((0.0, 0.1, 0.3)),
        corrupt=at.random.choice((0.0, 0.0, 0.01)),
    )
    ends = [*at.world.nodes, *at.world.sessions()]
    share = at.random.choice((0.1, 0.5, 1.0))
    packets = {(a, b): fault for a in ends for b in ends if a != b and chance() < share}
    hit = [node for node in at.world.nodes if any(node in link for link in packets)]
    value = {**msgspec.to_builtins(fault), "links": len(packets)}
    return Injected(hit, value, at.links.set("packets", packets))


def held_frame(at: FaultContext) -> Injected:
    """The next frame between two nodes waits, while all later ones pass, and is then delivered: as
    on a path of its own. Its time is that of the fault, times a factor of up to 20."""
    source = at.one()
    others = [node for node in at.world.nodes if node != source]
    target = at.random.choice(others or [source])
    if at.random.random() < 0.5:
        source, target = target, source
    link, network, world = at.world.network.link(source, target), at.world.network, at.world
    extra_ns = int(at.random.random() * 20) * at.options.duration_ns
    taken: list[Any] = []

    def takes(frame: Any) -> bool:
        link.hold = None
        taken.append(frame)
        return True

    def deliver() -> None:
        if link.hold is takes:
            link.hold = None
        held, link.held[:] = link.held[:], []
        for frame, socket in held:
            network.transmit(link, frame, socket)

    link.hold = takes
    heal = lambda: world.at(extra_ns, deliver)  # noqa: E731
    return Injected([source, target], {"link": [source, target], "extra_ns": extra_ns}, heal)

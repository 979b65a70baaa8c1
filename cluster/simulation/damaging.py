"""Damage to the disk of a simulated node: it is killed, its files are damaged, others start it.

One damage at a time, and never so many nodes that no majority of sound disks is left (the fault
atlas): one good copy of everything acknowledged stays. A friend of the world, as its faults are.

Used by the swarm, by directed schedules, by the harness's environment and by tests.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from cluster.log.group_files import within_group
from cluster.simulation.file_damage import FileDamage, draw_damage
from cluster.simulation.sound_voters import majority_stays, voter_sets
from cluster.simulation.world import World


def damage(
    world: World,
    node: str,
    kind: str,
    source: random.Random,
    *,
    older: Mapping[str, bytes] | None = None,
    only: str = "",
    within: bytes = b"",
) -> FileDamage | None:
    """Kill a node's process, if it runs, and damage its files; it is for others to start it.

    Args:
        world: whose node.
        node: which.
        kind: one of :data:`cluster.simulation.file_damage.KINDS`.
        source: chooses file and place.
        older: files as they were before, for ``older-copy``.
        only: what the names of the files begin with, of which one is damaged, whatever its group;
            "" for any.
        within: bytes in them, of which ``flip`` is to hit one; empty for any.

    Returns:
        What was done; None if that is not possible, would leave no majority of sound disks, the
        node is down with a damaged disk, or lost power before its last promise was synced: with
        damage on top nothing can tell what it had promised.
    """
    found = world._node(node)
    if not found.up and found.disk.undone:
        return None
    if not world.atlas.allows(node) or (node in world.atlas.damaged and not found.up):
        return None
    if not _leaves_voters(world, node):
        return None
    was_up = found.up
    if was_up:
        found.stop("killed")
        found.disk.crash(lose_unsynced=True, torn=False, power=False)
        world._cut_off(node)
    files = {
        name: data
        for name, data in found.disk.files().items()
        if within_group(name).startswith(only)
    }
    done = draw_damage(kind, files, source, older=older, within=within)
    if done is not None:
        found.disk.put(done.changed)
        world.atlas.damage(node)
        world.trace.add(world.now_ns, "damage", node, done.file, [done.kind, done.at])
    elif was_up:
        world.restart(node)
    return done


def _leaves_voters(world: World, node: str) -> bool:
    """Whether each set of voters that some node goes by, or would after the removals under way,
    keeps a majority of sound disks: there may be fewer voters than nodes, all of them down."""
    atlas = world.atlas
    damaged = {world.member(each) for each in (*atlas.damaged, node)}
    leaving = {world.member(each) for each in atlas.leaving}
    said = [found for each in world.nodes for found in voter_sets(world.status(each) or {})]
    return majority_stays(damaged, [*said, {world.member(each) for each in world.nodes}], leaving)

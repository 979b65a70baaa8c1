"""``python -m cluster``: run one node of the reference cluster until it is told to stop.

Exit codes: 0 asked to stop (SIGTERM, SIGINT, or the end of ``--parent-pid``), 3 it cannot start
(one sentence on stderr), 4 it stopped itself because its disk failed, 5 because of a bug in its
core. A file that another process has cut, or a page that a failing disk cannot bring back, ends it
with SIGBUS, and stderr says where. ``python -m cluster format`` makes a data directory that of a
new member.
"""

from __future__ import annotations

import asyncio
import faulthandler
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cluster.runtime.node import NodeParts
    from cluster.runtime.options import NodeOptions


def main(arguments: Sequence[str]) -> int:
    """Run a node with these command-line arguments; returns the exit code."""
    if arguments[:1] == ["format"]:
        from cluster.runtime import format

        return format.main(arguments[1:])

    from cluster.runtime.options import OptionError, parse_options

    try:
        options = parse_options(arguments)
    except OptionError as error:
        return _cannot_start(f"python -m cluster: {error}")

    from cluster.ablations.registry import UnknownAblation
    from cluster.runtime.node import run_node
    from cluster.runtime.opening import CannotStart

    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(run_node(options, parts=_parts(options)))
    except (CannotStart, UnknownAblation) as error:
        return _cannot_start(f"node {options.id}: {error}")


def _cannot_start(why: str) -> int:
    """Say why, if stderr takes it: a log on a full disk must not change the exit code."""
    with suppress(OSError):
        print(why, file=sys.stderr)
    return 3


def _parts(options: NodeOptions) -> NodeParts:
    """The classes a node of this role is made of, with the ablations in them.

    Raises:
        UnknownAblation: one of them concerns no part of such a node.
    """
    from cluster.ablations.registry import ablate
    from cluster.core.parts import CONSENSUS, ReplicaParts
    from cluster.core.paxos_register import PaxosParts
    from cluster.gossip.node import GossipParts
    from cluster.leaderless.parts import LeaderlessParts

    if options.role == "gossip":
        return ablate(GossipParts(), options.ablations)
    if options.role == "leaderless":
        return ablate(LeaderlessParts(), options.ablations)
    if options.role == "paxos":
        return ablate(PaxosParts(), options.ablations)
    replica = ReplicaParts(consensus=CONSENSUS[options.consensus])
    if options.role == "data":
        from cluster.data.transactional_node import transactional

        return ablate(transactional(replica), options.ablations)
    return ablate(replica, options.ablations)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """uvloop's event loop where it is installed; it is about twice as fast."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


if __name__ == "__main__":
    if sys.stderr is not None:  # a mapped file that cannot be had any more ends the process
        faulthandler.enable()
    code = main(sys.argv[1:])
    try:
        if sys.stderr is not None:
            sys.stderr.flush()
    except OSError:
        sys.stderr = None  # what it still holds must not change the exit code
    sys.exit(code)

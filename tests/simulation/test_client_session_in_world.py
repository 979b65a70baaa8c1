"""What the simulation found about the client session, as runs."""

from __future__ import annotations

import pytest

from cluster.simulation.network import LinkFault
from cluster.simulation.world import MS, SECOND, World
from cluster.wire import Command


@pytest.mark.parametrize("lost", [("c1", "n1"), ("n1", "c1")])
def test_a_lost_first_question_does_not_silence_a_session(lost: tuple[str, str]) -> None:
    """A new session asks for any revision before its first write; frames may be lost."""
    world = World(seed=1)
    world.run_for(SECOND)
    session = world.session("c1", timeout_ns=5 * SECOND, prefer="n1")
    call = session.submit(Command("put", "x", (1,)))
    connection = 1
    assert world.run_until(lambda: world.connections.is_open(connection), SECOND)
    world.network.set_links({lost: LinkFault(cut=True)})
    world.run_for(100 * MS)
    world.network.set_links({})
    world.run_for(5 * SECOND)
    assert call.status == "ok", call

"""What the simulation found about the client session, as runs."""

from __future__ import annotations

import pytest

from cluster.simulation.network import LinkFault, NetworkProfile
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


def test_no_frame_of_a_clients_connection_comes_twice() -> None:
    """A node that refused a request must not take a second copy of it: the client has moved on.

    Seed 20112 of Zab showed it: the copy was taken when the node led, after its ``retry``.
    """
    network = NetworkProfile(duplicate=1.0)
    world = World(seed=1, network=network)
    assert world.run_until(lambda: world.leader() is not None, 10 * SECOND)
    session = world.session("c1")
    for number in range(5):
        session.submit(Command("append", "x", (number,)))
    world.run_for(2 * SECOND)
    counters = world.network.counters()
    of_client = [counted for ends, counted in counters.items() if "c1" in ends]
    assert of_client and all(counted["duplicated"] == 0 for counted in of_client)
    assert any(counted["duplicated"] > 0 for counted in counters.values())

"""Changes an operator makes in the middle of other faults: another leader, other members."""

from __future__ import annotations

from cluster.core.member_requests import TRANSFER
from cluster.simulation.faults.context import FaultContext, Injected
from cluster.simulation.membership_churn import OPERATOR
from cluster.wire import Command

#: Election timeouts for which a transfer is asked for.
PATIENCE_TIMEOUTS = 4


def transfer(at: FaultContext) -> Injected:
    """Leadership is handed over, to a node at random or to the best one."""
    node = at.random.choice(["", *map(at.world.member, at.world.nodes)])
    # A request that is asked again for long would depose leaders after the faults are over.
    patience_ns = PATIENCE_TIMEOUTS * at.world.config.election_max_ns
    session = at.world.session(OPERATOR, window=4)
    session.submit(Command(TRANSFER, node), timeout_ns=patience_ns)
    return Injected([node] if node else [], {"to": node}, lambda: None)


def membership(at: FaultContext) -> Injected:
    """A member is removed, and comes back with an empty disk under its next id."""
    node = at.one()
    return Injected([node], {"removed": node}, at.churn.remove(node))

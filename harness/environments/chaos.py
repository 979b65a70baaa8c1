"""The chaos endpoint of the reference cluster's nodes, as the harness speaks to it.

A node of ours changes its own clock and disk on the request of a client that shows its token.
"""

from __future__ import annotations

from typing import Any

from harness.environments.http import HttpClient
from harness.environments.node_processes import NodeProcesses

_ANSWERS_WITHIN_S = 5.0
#: how long a node that was started again has to serve before its faults are given back to it
RESTORE_WITHIN_S = 10.0


async def post(node: NodeProcesses, path: str, value: Any) -> dict[str, Any]:
    """POST a value; the answer.

    Raises:
        OSError, TimeoutError, HttpStatus: the node does not answer, or refuses.
    """
    assert node.chaos_port is not None
    client = HttpClient(node.machine.address, node.chaos_port, timeout_s=_ANSWERS_WITHIN_S)
    client.token = node.chaos_token
    try:
        answer = await client.post(path, value)
    finally:
        await client.close()
    return answer if isinstance(answer, dict) else {}


async def serves_again(node: NodeProcesses) -> None:
    """Wait until a node that was started again answers; SetupError if it does not."""
    assert node.chaos_port is not None
    await node.http_ok(node.chaos_port, "/health", within_s=RESTORE_WITHIN_S)

"""Ending tasks, also those that swallow a cancellation.

Problem: a cancellation is delivered once, and code that catches it at the wrong moment swallows it.
``asyncio.wait_for`` did so (up to Python 3.11) when its inner call ended in the same turn of the
loop. A task that loops for ever then goes on, and a caller that waits for its end never returns:
two of sixty nodes that were asked to stop did not.

Solution: cancel again until it has ended. Used by everything in ``runtime`` that owns a task.
"""

from __future__ import annotations

import asyncio
from typing import Any

#: Time between two cancellations of one task.
AGAIN_S = 0.1


async def ended(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks until every one has ended; what they raise is theirs."""
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=AGAIN_S)
    for task in tasks:
        if not task.cancelled():
            task.exception()

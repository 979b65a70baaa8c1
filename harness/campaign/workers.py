"""What every worker process of a campaign does first.

Problem: a worker waits for work on a pipe of which it holds both ends. When the harness is killed,
the pipe does not end, and the worker would wait for ever.

Solution: a thread of the worker waits for the end of its parent, and ends the process.
"""

from __future__ import annotations

import os
import threading
from multiprocessing import parent_process
from multiprocessing.connection import wait

#: exit code of a worker whose parent has ended; read by no program
ORPHANED = 3


def end_with_parent() -> None:
    """Initializer of a pool: the worker does not outlive the process that started it."""
    threading.Thread(target=_wait_for_parent, name="parent", daemon=True).start()


def _wait_for_parent() -> None:
    parent = parent_process()
    if parent is None:  # no worker
        return
    wait([parent.sentinel])
    os._exit(ORPHANED)

"""``python -m cluster.client``: the words are in :mod:`cluster.client.command_line`.

Modules are imported first, which takes a moment. An interruption meanwhile ends the process as
SIGINT does, without a traceback of the import.
"""

from __future__ import annotations

import signal
import sys


def run() -> int:
    """Do the command of this process's arguments; returns the exit code."""
    interrupts = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if interrupts:  # and are not ignored, as in the background of a shell
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from cluster.client.command_line import main

    if interrupts:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(run())

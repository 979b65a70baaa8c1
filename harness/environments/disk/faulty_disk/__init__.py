"""A file system in user space that passes requests on to a directory and injects disk faults.

A database that is not ours has no door to its disk. Put between the two, this file system can be
slow, fail, be full, tear a write in two, or damage what it keeps, and counts each time it did. It
is mounted over the very directory whose files it serves, so nothing has to be copied, and what was
written is there when it is gone.

Only Python's standard library is used, and only relative imports, so that the folder can be sent to
another host and run there. It speaks to ``/dev/fuse`` itself: no libfuse is needed, but root is.

    wire.py      the kernel's messages
    tree.py      inodes and open files of the directory behind
    faults.py    what goes wrong, and how often it did
    server.py    the loop, the mount, the control socket; ``python -m ... --help``
    control.py   asking a server

Run by :mod:`harness.environments.disk.disks`.
"""

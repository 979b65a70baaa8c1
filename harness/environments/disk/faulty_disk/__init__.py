"""A file system in user space that passes requests on to a directory and injects disk faults.

A foreign database has no interface for disk faults. This file system between the database and its
disk can be slow, fail, be full, tear a write in two, or damage files, and counts each fault. It is
mounted over the very directory whose files it serves. So nothing has to be copied, and the files
remain after an unmount.

Only Python's standard library is used, and only relative imports, so that the folder can be sent to
another host and run there. It speaks to ``/dev/fuse`` itself: no libfuse is needed, but root is.

    wire.py      the kernel's messages
    tree.py      inodes and open files of the directory behind
    faults.py    what goes wrong, and how often it did
    server.py    the loop, the mount, the control socket; ``python -m ... --help``
    control.py   asking a server

Run by :mod:`harness.environments.disk.disks`.
"""

"""Faulty disks of nodes: a file system in user space, a small volume, the chaos endpoint."""

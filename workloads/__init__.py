"""Workloads: what to do and how to judge it, and the generator algebra they are written in.

    from workloads import Workload, generator as gen

A workload is a plain function with keyword options that returns a :class:`Workload`. Those that
ship are listed by name in :data:`WORKLOADS`; nothing of them is imported to list them.
"""

from __future__ import annotations

from workloads.workload import Workload

__all__ = ["WORKLOADS", "Workload"]

#: name -> "module:function"
WORKLOADS: dict[str, str] = {
    "register": "workloads.register:register",
}

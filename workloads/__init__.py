"""Workloads: operations to run and their checker, and the generator algebra they are written in.

    from workloads import Workload, generator as gen

A workload is a plain function with keyword options that returns a :class:`Workload`. Those that
ship are listed by name in :data:`WORKLOADS`; nothing of them is imported to list them.
"""

from __future__ import annotations

from workloads.workload import Workload

__all__ = ["WORKLOADS", "Workload"]

#: name -> "module:function"
WORKLOADS: dict[str, str] = {
    "append": "workloads.append:append",
    "bank": "workloads.bank:bank",
    "causal": "workloads.causal:causal",
    "causal-reverse": "workloads.causal:causal_reverse",
    "counter": "workloads.counter:counter",
    "emergent-leader": "workloads.emergent_leader:emergent_leader",
    "election": "workloads.election:election",
    "lease": "workloads.lease:lease",
    "list-append": "workloads.list_append:list_append",
    "lock": "workloads.lock:lock",
    "log": "workloads.log:log",
    "long-fork": "workloads.long_fork:long_fork",
    "membership-convergence": "workloads.membership_convergence:membership_convergence",
    "monotonic": "workloads.monotonic:monotonic",
    "ownership": "workloads.ownership:ownership",
    "queue": "workloads.queue:queue",
    "register": "workloads.register:register",
    "rw-register": "workloads.rw_register:rw_register",
    "scans": "workloads.scans:scans",
    "sessions": "workloads.sessions:sessions",
    "set": "workloads.set:set_workload",
    "siblings": "workloads.siblings:siblings",
    "unique-ids": "workloads.unique_ids:unique_ids",
    "watch": "workloads.watch:watch",
    "write-skew": "workloads.write_skew:write_skew",
}

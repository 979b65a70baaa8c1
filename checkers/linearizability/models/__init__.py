"""The built-in models: registers, locks, counters, sets, queues, stacks, lists, key-value stores.

Each function returns a :class:`~checkers.linearizability.model.Model`; its docstring is the
vocabulary the history must use: ``f``, then the shape of input and output. Where a history has
keys, every key is an object of its own. Values are compared with their types: 1 is not True.

In the register models a failed compare-and-set may be one of two things. ``failed_cas="absent"``
(as Knossos): it did not happen and says nothing. ``failed_cas="observed"`` (as Porcupine's etcd
model): it says that at some instant the register did not hold the expected value. The second finds
more, and is right only if the client reports ``fail`` for a mismatch and for nothing else.
"""

from __future__ import annotations

from collections.abc import Callable

from checkers.linearizability.model import Model
from checkers.linearizability.models.collections import (
    append_list,
    fifo_queue,
    priority_queue,
    stack,
    unordered_queue,
)
from checkers.linearizability.models.collections import element_set as set
from checkers.linearizability.models.registers import (
    cas_register,
    counter,
    key_value,
    multi_register,
    mutex,
    register,
)

__all__ = [
    "NAMES",
    "append_list",
    "cas_register",
    "counter",
    "fifo_queue",
    "key_value",
    "multi_register",
    "mutex",
    "priority_queue",
    "register",
    "set",
    "stack",
    "unordered_queue",
]

#: Model name as on the command line -> function that makes it.
NAMES: dict[str, Callable[..., Model]] = {
    "register": register,
    "cas-register": cas_register,
    "multi-register": multi_register,
    "mutex": mutex,
    "counter": counter,
    "set": set,
    "fifo-queue": fifo_queue,
    "unordered-queue": unordered_queue,
    "stack": stack,
    "priority-queue": priority_queue,
    "append-list": append_list,
    "key-value": key_value,
}

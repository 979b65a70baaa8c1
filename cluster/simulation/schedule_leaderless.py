"""Commands of directed schedules for role ``leaderless``.

    siblings C KEY              all siblings of a key; C remembers them with their context
    store C KEY VALUE           a sibling that replaces what C remembers of the key, once; nothing,
                                if C has read nothing since
    erase C KEY                 the same without a new sibling

Their words in a history are ``read``, ``store`` and ``erase``, those of the checker ``siblings``.
Where the last writer wins, ``put``, ``get`` and ``delete`` will do. Each may end in ``@N`` and in
``-> OUT``, as those of :mod:`cluster.simulation.schedule_services`, which runs them.
"""

from __future__ import annotations

from typing import Any

from cluster.leaderless.node import LeaderlessNode
from cluster.simulation.schedule_services import Operation, Steps, words_of
from cluster.simulation.schedule_stage import Memory, Stage, text_of, value_of
from cluster.wire import Command


def siblings(memory: Memory, arguments: list[str]) -> Operation:
    """``siblings C KEY``."""
    (key,) = words_of(arguments, "KEY")

    def steps() -> Steps:
        done = yield Command("get", key)
        if done.status != "ok":
            return ("fail", None, done.error)
        found = list(done.value["values"])
        memory.contexts[key] = (found, done.value["context"])
        return ("ok", found, "")

    return Operation("read", key, None, steps(), tell)


def tell(values: list[Any]) -> str:
    """Siblings in words."""
    return ", ".join(sorted(map(text_of, values))) or "nothing"


def store(memory: Memory, arguments: list[str]) -> Operation:
    """``store C KEY VALUE``."""
    key, text = words_of(arguments, "KEY", "VALUE")
    value = value_of(text)
    over, context = memory.contexts.pop(key, ([], None))
    output = {"value": value, "over": over}
    args = (value,) if context is None else (value, context)

    def steps() -> Steps:
        done = yield Command("put", key, args)
        return (done.status, output if done.status != "fail" else None, done.error)

    return Operation("store", key, value, steps(), lambda _: f"over {tell(over)}")


def erase(memory: Memory, arguments: list[str]) -> Operation:
    """``erase C KEY``."""
    (key,) = words_of(arguments, "KEY")
    if key not in memory.contexts:
        raise ValueError(f"this client has not read {key!r}: begin with siblings")
    over, context = memory.contexts.pop(key)

    def steps() -> Steps:
        done = yield Command("delete", key, (context,))
        return (done.status, {"over": over} if done.status != "fail" else None, done.error)

    return Operation("erase", key, None, steps(), lambda _: f"over {tell(over)}")


def holds(stage: Stage, arguments: list[str]) -> None:
    """``holds N KEY``: print what N holds of the key, and how many hints it keeps of it."""
    if len(arguments) != 2:
        raise stage.fail("holds takes a node and a key: holds n1 x")
    node, key = arguments
    core = stage.world.core(node)
    if not isinstance(core, LeaderlessNode):
        raise stage.fail(f"{node} is down, or is not of role leaderless")
    state = core.states.state(f"v:{key}")
    held = tell([value for value in state.values() if value is not None])
    said = "a tombstone" if state.is_tombstone else held
    hints = [target for target, hinted in core.states.hints if hinted == f"v:{key}"]
    for_whom = f", a hint for {', '.join(sorted(hints))}" if hints else ""
    stage.say(f"{node} holds {said} of {key}{for_whom}")

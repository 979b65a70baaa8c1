"""Commands of directed schedules about the core's services: leases, locks, watches, transactions.

    grant C LEASE TTL           a lease of this name, that one client has at a time
    renew C LEASE | revoke C LEASE
    lock C NAME TTL             a key attached to a lease of its own, if the lock is free
    unlock C NAME               end that lease
    fenced C NAME VALUE         a write to the lock's resource, which is a key attached to the lease
                                that C got the lock with: the resource refuses it when that is over
    trusting C NAME VALUE       a write to a resource that refuses nothing; C sends it only if it
                                holds the lock's lease by its own clock
    guarded C NAME VALUE        a write to a resource outside the cluster, which compares the lock's
                                token with the largest one it has seen
    write C KEY VALUE           a put that returns its revision
    watch C PREFIX AFTER [N]    every change after this revision; ``on`` goes on from the last one.
                                An answer ends after N changes, at the next revision
    txn C [if KEY VALUE, ... then] r KEY, w KEY VALUE, append KEY VALUE, ...
                                a transaction; it fails if a key has not the value given
    snapshot C KEY KEY ... [at REVISION]
                                reads the first key now, and with ``await C`` the others as they
                                were then; or all of them as of this revision
    send C LOG VALUE VALUE ...  values appended to a log one by one, as many under way at once as
                                the client's window allows; a value's offset is its revision
    poll C LOG                  the values of a log
    compact C REVISION          versions that no read at or above it can see are dropped

and of role ``gossip``:

    members C                   whom the node asked knows to live
    act C VALUE                 the leader of the agreed view writes to the fenced register
    join C SEED                 the node asked joins the group through this member
    leave C                     the node asked says good-bye

Each may end in ``@N`` and in ``-> OUT``, and may be started and awaited, as single-key operations
are (:mod:`cluster.simulation.schedule_commands`). An operation is one event of the history, however
many commands of the core it takes; its words are those of the checkers ``lease``, ``lock``,
``watch``, ``list-append`` and ``rw-register``.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from cluster.client.session import Complete
from cluster.gossip.requests import UNNUMBERED as PINNED
from cluster.simulation.schedule_stage import Memory, Running, Stage, text_of, time_of, value_of
from cluster.simulation.sessions import Call, SimSession
from cluster.wire import Command

#: (status, value, error) of an operation
Outcome: TypeAlias = tuple[str, Any, str]
#: Yields the commands of the core one by one, or None to wait for the schedule; is sent outcomes.
#: Of a list of commands, which begin at once, it is sent the list of the outcomes.
Steps: TypeAlias = Generator[Command | list[Command] | None, Any, Outcome]


class Operation(NamedTuple):
    """One operation of a client.

    Args:
        f: its name in a history.
        key: the object, "" if it concerns several.
        value: its argument in a history; None for none.
        steps: what it does.
        tell: its result in words.
    """

    f: str
    key: str
    value: Any
    steps: Steps
    tell: Callable[[Any], str]


def begin_service(
    stage: Stage, word: str, arguments: list[str], make: Callable[[Memory, list[str]], Operation]
) -> str:
    """Begin an operation on a service.

    Args:
        stage: where.
        word: the command.
        arguments: its words, the client first.
        make: makes the operation of what the client remembers and the words after it.

    Returns:
        The client.

    Raises:
        ScheduleError: the words are wrong, or the client still waits for something.
    """
    client, *rest = arguments or [""]
    words = " ".join([client, word, *rest])
    node = rest.pop()[1:] if rest and rest[-1].startswith("@") else None
    stage.free(client, node)
    try:
        operation = make(stage.memory(client), rest)
    except ValueError as error:
        raise stage.fail(f"{word}: {error}") from error
    args = () if operation.value is None else (operation.value,)
    call = Call(client, Command(operation.f, operation.key, args), to=node or "")
    stage.calls[client] = running = Running(words, call, operation.tell)
    stage.world.client_log.append((stage.world.now_ns, call, True))
    _go_on(stage, running, operation.steps, None)
    return client


def _go_on(stage: Stage, running: Running, steps: Steps, done: Any) -> None:
    """Take the next step of an operation, now that the last one is done."""
    call, world = running.call, stage.world
    try:
        command = next(steps) if done is None else steps.send(done)
    except StopIteration as end:
        call.status, call.value, call.error = end.value
        world.client_log.append((world.now_ns, call, False))
        return
    if command is None:
        running.resume = partial(_go_on, stage, running, steps, None)
        return
    session = stage.session(call.session)
    again = partial(_go_on, stage, running, steps)
    if isinstance(command, list):
        _submit_all(session, command, call.to or None, again)
        return
    mode = "stale" if call.to and command.op in PINNED else "linearizable"
    session.submit(command, mode=mode, to=call.to or None, recorded=False, done=again)


def _submit_all(
    session: SimSession,
    commands: list[Command],
    to: str | None,
    done: Callable[[list[Complete]], None],
) -> None:
    """Begin several commands at once; ``done`` is given all outcomes, in the commands' order."""
    outcomes: dict[int, Complete] = {}

    def ended(position: int, outcome: Complete) -> None:
        outcomes[position] = outcome
        if len(outcomes) == len(commands):
            done([outcomes[position] for position in range(len(commands))])

    for position, command in enumerate(commands):
        session.submit(command, to=to, recorded=False, done=partial(ended, position))


def _outcome(done: Complete, value: Any = None) -> Outcome:
    return (done.status, value if done.status == "ok" else None, done.error)


def words_of(arguments: list[str], *names: str) -> list[str]:
    """The words after the client, as many as there are names for.

    Raises:
        ValueError: there are more or fewer.
    """
    if len(arguments) != len(names):
        raise ValueError(f"expected a client, {', '.join(names)}, not {' '.join(arguments)!r}")
    return arguments


def _silent(value: Any) -> str:
    return ""


def _tell_token(value: Any) -> str:
    return f"token {value['token']}"


# -- leases and locks


def _grant(memory: Memory, arguments: list[str]) -> Operation:
    lease, ttl = words_of(arguments, "LEASE", "TTL")
    ttl_ns = time_of(ttl)

    def steps() -> Steps:
        done = yield Command("lease-grant", lease, (ttl_ns,))
        return _outcome(done, _without_name(done))

    return Operation("grant", lease, None, steps(), _tell_token)


def _renew(memory: Memory, arguments: list[str]) -> Operation:
    (lease,) = words_of(arguments, "LEASE")

    def steps() -> Steps:
        done = yield Command("lease-renew", lease)
        return _outcome(done, _without_name(done))

    return Operation("renew", lease, None, steps(), _silent)


def _without_name(done: Complete) -> Any:
    return done.value and {"ttl_ns": done.value["ttl_ns"], "token": done.value["token"]}


def _revoke(memory: Memory, arguments: list[str]) -> Operation:
    (lease,) = words_of(arguments, "LEASE")

    def steps() -> Steps:
        done = yield Command("lease-revoke", lease)
        return _outcome(done)

    return Operation("revoke", lease, None, steps(), _silent)


def _lock(memory: Memory, arguments: list[str]) -> Operation:
    name, ttl = words_of(arguments, "NAME", "TTL")
    ttl_ns = time_of(ttl)

    def steps() -> Steps:
        asked_ns = memory.now_ns()
        granted = yield Command("lease-grant", "", (ttl_ns,))
        if granted.status != "ok":
            return ("fail", None, f"no lease was got: {granted.error}")
        lease = granted.value["lease"]
        memory.views[name] = view = memory.view()
        view.granted(asked_ns, memory.now_ns(), ttl_ns)
        absent, attach = [name, "version", "==", 0], ["put", name, True, lease]
        made = yield Command("txn", "", ([absent], [attach], []))
        if made.status == "ok" and made.value["succeeded"]:
            memory.held[name] = (lease, made.revision)
            return ("ok", {"token": made.revision}, "")
        ended = yield Command("lease-revoke", lease)  # so that it is not held, whatever became
        if ended.status == "unknown":
            return _outcome(ended)
        return ("fail", None, made.error or "another has the lock")

    return Operation("acquire", name, None, steps(), _tell_token)


def _lease_of(memory: Memory, name: str) -> tuple[str, int]:
    if name not in memory.held:
        raise ValueError(f"this client never had the lock {name!r}")
    return memory.held[name]


def _unlock(memory: Memory, arguments: list[str]) -> Operation:
    (name,) = words_of(arguments, "NAME")
    lease, _ = _lease_of(memory, name)

    def steps() -> Steps:
        done = yield Command("lease-revoke", lease)
        return _outcome(done)

    return Operation("release", name, None, steps(), _silent)


def _fenced(memory: Memory, arguments: list[str]) -> Operation:
    name, text = words_of(arguments, "NAME", "VALUE")
    lease, token = _lease_of(memory, name)
    output = {"token": token, "value": value_of(text)}

    def steps() -> Steps:
        done = yield Command("put", f"resource/{name}", (output["value"], lease))
        return _outcome(done, output)

    return Operation("write", name, output, steps(), _silent)


def _trusting(memory: Memory, arguments: list[str]) -> Operation:
    name, text = words_of(arguments, "NAME", "VALUE")
    _, token = _lease_of(memory, name)
    told = {"token": token, "value": value_of(text)}

    def steps() -> Steps:
        if not memory.views[name].may_act(memory.now_ns()):
            return ("fail", None, "by its own clock the lease is over")
        done = yield Command("put", f"resource/{name}", (told["value"],))
        return _outcome(done, told)

    return Operation("write", name, told, steps(), _silent)


def _guarded(memory: Memory, arguments: list[str]) -> Operation:
    name, text = words_of(arguments, "NAME", "VALUE")
    _, token = _lease_of(memory, name)
    told = {"token": token, "value": value_of(text)}

    def steps() -> Steps:
        if not memory.fence(name).admit(token):
            return ("fail", None, "the resource has seen a later token")
        done = yield Command("put", f"resource/{name}", (told["value"],))
        return _outcome(done, told)

    return Operation("write", name, told, steps(), _silent)


# -- watches


def _write(memory: Memory, arguments: list[str]) -> Operation:
    key, text = words_of(arguments, "KEY", "VALUE")

    def steps() -> Steps:
        done = yield Command("put", key, (value_of(text),))
        return _outcome(done, {"revision": done.revision})

    return Operation(
        "write", key, value_of(text), steps(), lambda output: f"at {output['revision']}"
    )


def _watch(memory: Memory, arguments: list[str]) -> Operation:
    limit = {"limit": int(arguments[2])} if len(arguments) == 3 else {}
    prefix, text = words_of(arguments[:2] if limit else arguments, "PREFIX", "AFTER")
    if text == "on" and prefix not in memory.watchers:
        raise ValueError(f"this client has not watched {prefix!r} yet; give a revision")
    if text != "on":
        memory.watchers[prefix] = memory.watcher(int(text))
    watcher = memory.watchers[prefix]

    def steps() -> Steps:
        done = yield Command("watch", prefix, ({**watcher.options(), **limit},))
        if done.status != "ok":
            return ("fail", None, done.error)
        watcher.told(done.value["revision"])
        events = [_change(event) for event in done.value["events"]]
        return ("ok", {"events": events, "revision": done.value["revision"]}, "")

    asked = {"prefix": prefix} if text == "on" else {"prefix": prefix, "from": int(text) + 1}
    return Operation("watch", "", asked, steps(), _tell_events)


def _change(event: dict[str, Any]) -> dict[str, Any]:
    change = {"revision": event["revision"], "key": event["key"]}
    gone = event["type"] == "delete"
    return {**change, "type": "delete"} if gone else {**change, "value": event["value"]}


def _tell_events(output: dict[str, Any]) -> str:
    changes = [
        f"{each['revision']} {each['key']} {text_of(each['value']) if 'value' in each else 'gone'}"
        for each in output["events"]
    ]
    return f"{', '.join(changes) or 'nothing'}; all up to {output['revision']}"


# -- transactions


def _txn(memory: Memory, arguments: list[str]) -> Operation:
    wanted: list[list[Any]] = []
    text = " ".join(arguments)
    if text.startswith("if "):
        condition, _, text = text.removeprefix("if ").partition(" then ")
        wanted = [micro_operation(["r", *part.split()], 3) for part in condition.split(",")]
    asked = [micro_operation(part.split()) for part in text.split(",")]
    compares = [[key, "value", "==", value] for _, key, value in wanted]
    found = [["r", key, None] for _, key, _ in wanted]
    names = {"r": "get", "w": "put", "append": "append"}
    parts = [[names[f], key, *([] if f == "r" else [value])] for f, key, value in asked]

    def steps() -> Steps:
        done = yield Command("txn", "", (compares, parts, []))
        if done.status != "ok":
            return _outcome(done)
        if not done.value["succeeded"]:
            return ("fail", None, "a key has another value")
        results = zip(asked, done.value["results"], strict=True)
        output = [[f, key, result if f == "r" else value] for (f, key, value), result in results]
        return ("ok", wanted + output, "")

    return Operation("txn", "", found + asked, steps(), tell_operations)


def micro_operation(words: list[str], count: int = 0) -> list[Any]:
    """``r KEY``, ``w KEY VALUE`` or ``append KEY VALUE`` as a history has it."""
    if len(words) != (count or {"r": 2, "w": 3, "append": 3}.get(words[0] if words else "", 0)):
        said = " ".join(words)
        raise ValueError(f"expected r KEY, w KEY VALUE or append KEY VALUE, not {said!r}")
    return [words[0], words[1], value_of(words[2]) if len(words) == 3 else None]


def tell_operations(parts: list[list[Any]]) -> str:
    """What a transaction did, in words."""
    return ", ".join(f"{f} {key} {text_of(value)}" for f, key, value in parts)


def _snapshot(memory: Memory, arguments: list[str]) -> Operation:
    asked: tuple[int, ...] = ()
    if arguments[-2:-1] == ["at"]:
        *arguments, _, text = arguments
        asked = (int(text),)
    if len(arguments) < 2:
        raise ValueError("expected a client and two keys or more")
    first, *others = arguments

    def steps() -> Steps:
        done = yield Command("get", first, asked)
        revision, found = asked[0] if asked else done.revision, [["r", first, done.value]]
        yield None
        for key in others:
            if done.status != "ok":
                break
            done = yield Command("get", key, (revision,))
            found.append(["r", key, done.value])
        return ("ok", found, "") if done.status == "ok" else ("fail", None, done.error)

    return Operation("txn", "", [["r", key, None] for key in arguments], steps(), tell_operations)


def _compact(memory: Memory, arguments: list[str]) -> Operation:
    (text,) = words_of(arguments, "REVISION")
    revision = int(text)

    def steps() -> Steps:
        done = yield Command("compact", "", (revision,))
        return _outcome(done)

    return Operation("compact", "", None, steps(), _silent)


# -- logs


def _send(memory: Memory, arguments: list[str]) -> Operation:
    if len(arguments) < 2:
        raise ValueError("expected a client, a log and a value or more")
    log, *texts = arguments
    values = [value_of(text) for text in texts]

    def steps() -> Steps:
        sent = yield [Command("append", log, (value,)) for value in values]
        for each in sent:
            if each.status != "ok":
                return ("unknown", None, each.error)
        offsets = [each.revision for each in sent]
        return ("ok", [["send", log, [*pair]] for pair in zip(offsets, values, strict=True)], "")

    asked = [["send", log, value] for value in values]
    return Operation("txn", "", asked, steps(), _tell_sent)


def _tell_sent(output: list[Any]) -> str:
    return ", ".join(f"{text_of(value)} at {offset}" for _, _, (offset, value) in output)


def _poll(memory: Memory, arguments: list[str]) -> Operation:
    (log,) = words_of(arguments, "LOG")

    def steps() -> Steps:
        done = yield Command("watch", log, ({"after": 0},))
        if done.status != "ok":
            return _outcome(done)
        changes = [event for event in done.value["events"] if event["key"] == log]
        return ("ok", [["poll", {log: [[e["revision"], e["value"][-1]] for e in changes]}]], "")

    return Operation("txn", "", [["poll"]], steps(), _tell_polled)


def _tell_polled(output: list[Any]) -> str:
    ((_, logs),) = output
    return " ".join(text_of(value) for pairs in logs.values() for _offset, value in pairs)


# -- the group


def _members(memory: Memory, arguments: list[str]) -> Operation:
    words_of(arguments)

    def steps() -> Steps:
        done = yield Command("members-view", "")
        return _outcome(done, done.value)

    return Operation("read", "members", None, steps(), lambda output: " ".join(output))


def _act(memory: Memory, arguments: list[str]) -> Operation:
    (text,) = words_of(arguments, "VALUE")

    def steps() -> Steps:
        done = yield Command("act", "", (value_of(text),))
        return _outcome(done, done.value)

    return Operation("act", "singleton", value_of(text), steps(), _tell_act)


def _tell_act(output: dict[str, Any]) -> str:
    return f"by {output['leader']} of view {output['view']}"


def _join(memory: Memory, arguments: list[str]) -> Operation:
    (seed,) = words_of(arguments, "SEED")

    def steps() -> Steps:
        done = yield Command("join", seed)
        return _outcome(done)

    return Operation("join", "members", seed, steps(), _silent)


def _leave(memory: Memory, arguments: list[str]) -> Operation:
    words_of(arguments)

    def steps() -> Steps:
        done = yield Command("leave", "")
        return _outcome(done)

    return Operation("leave", "members", None, steps(), _silent)


SERVICES: dict[str, Callable[[Memory, list[str]], Operation]] = {
    "grant": _grant, "renew": _renew, "revoke": _revoke, "lock": _lock, "unlock": _unlock,
    "fenced": _fenced, "trusting": _trusting, "guarded": _guarded, "write": _write, "watch": _watch,
    "txn": _txn, "snapshot": _snapshot,
    "compact": _compact, "send": _send, "poll": _poll, "members": _members, "act": _act,
    "join": _join, "leave": _leave,
}  # fmt: skip

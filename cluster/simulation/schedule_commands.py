"""The commands of directed schedules: one small function each.

Words in capitals stand for arguments; brackets for what may be left out.

    seed N | config NAME=VALUE ...    before nodes: the seed; settings of ClusterConfig (50ms, 10)
    consensus NAME                    before nodes: the consensus variant; raft unless said
    role NAME                         before nodes: the role of the nodes; core unless said
    founders N1 N2 ...                before nodes: those the cluster begins with; all unless said
    nodes N1 N2 ...                   start a world of these nodes
    no-timeouts | timeouts            timers run only by command | by themselves again
    elect N                           N's timer comes first: it becomes leader, all hear of it
    campaign N                        N's timer fires, and no other; its effects follow
    tick N                            N's timer fires now
    late N TIME                       N finds that more of its own time has passed than it thought
    run TIME                          let time pass
    put C KEY VALUE [@N] [-> OUT]     a client's operation, awaited; also get KEY, cas KEY OLD NEW,
                                      append KEY ITEM, incr KEY N, delete KEY. @N: ask this node
                                      only. A get may end in lease, follower, session, stale or
                                      bounded=TIME. OUT: ok, fail or unknown, or a value: -> ok 1
    grant | renew | revoke | lock | unlock | fenced | guarded | write | watch | txn C ...
    snapshot | members | act | join | leave C ...
                                      see :mod:`cluster.simulation.schedule_services`
    placed | txn-run | transfer | partition-move ...
                                      of role data: see :mod:`cluster.simulation.schedule_data`
    change C add-learner N            a change of members; also promote N [OLD], remove-member N
    start C OP KEY ...                any of these, not awaited
    await C [-> OUT]                  wait for it
    timeout TIME                      deadline of operations of clients that come later
    window N                          commands under way at once of clients that come later
    cut A B | C D                     nothing passes between the two groups (clients are names too)
    cut A -> B                        nothing passes one way
    heal                              every link is healthy again
    hold A -> B [KIND]                keep back frames (of this kind, such as AppendEntries; see
                                      :mod:`cluster.simulation.schedule_frames`)
    deliver A -> B [KIND] [N]         let the first N (or all) held frames go
    drop A -> B [KIND] [N]            lose them instead
    keep A -> B [KIND] [N]            lose them, but keep copies for a network that repeats frames
    repeat A -> B                     let the copies kept arrive
    release A -> B                    hold nothing back any more, and let what is held go
    reconnect A -> B                  A connects to B anew; what is held was sent on the old one
    crash N [keep|torn]               kill; unsynced bytes are lost (kept, torn)
    wipe N                            empty the disk of a node that is down; its id stays
    restart N | pause N
    resume N [timer-first]            by default frames that waited are seen before the late timer
    clock N [offset=TIME] [rate=X]    wall clock offset, monotonic rate
    disk N [latency=TIME] [error=EIO] [full=1]
    damage N KIND [TEXT]              kill N and damage its log: lost-tail, flip, cut-at-record, ...
                                      With TEXT, flip hits that text where the log has it first
    wait N FIELD=VALUE [TIME]         until the node's status says so
    expect N FIELD=VALUE ...          the node's status must say so
    postpone A -> B [KIND]            the first held frame comes after all others that are held
    serve [TIME]                      a write must be acknowledged within this time (2s)
    idle N                            no client may wait for N any more
    undisturbed N [TIME]              N leads, and must lead on in its generation for this time (5s)
    settle                            heal everything: it must converge, serve and remember
    trial NAME                        a trial of availability, such as lost-leader
    leader | status N | log N         print
    register N KEY                    print what N's acceptor of the key holds (role paxos)
    holds N KEY                       print what N holds of the key (role leaderless)
    siblings | store | erase C ...    see :mod:`cluster.simulation.schedule_leaderless`

Times are ``5ms``, ``2s``, ``100us``. Used by :mod:`cluster.simulation.schedule` only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from cluster.config import ClusterConfig
from cluster.core.member_requests import CHANGES
from cluster.core.paxos_register import PaxosRegisters
from cluster.core.register_state import register_value
from cluster.data.follower_reads import BOUNDED
from cluster.simulation.availability import WITNESS, WITNESS_KEY, hold_trial, trials_for
from cluster.simulation.damaging import damage
from cluster.simulation.disk import DiskProfile
from cluster.simulation.liveness import settle
from cluster.simulation.network import HeldFrame, LinkFault, NetworkProfile
from cluster.simulation.schedule_data import (
    DATA_COMMANDS,
    DATA_SERVICES,
    DATA_STEPS,
    begin_step,
)
from cluster.simulation.schedule_frames import is_kind, kinds
from cluster.simulation.schedule_leaderless import erase, holds, siblings, store
from cluster.simulation.schedule_services import SERVICES, begin_service
from cluster.simulation.schedule_stage import (
    Running,
    Stage,
    finish,
    text_of,
    time_of,
    value_of,
)
from cluster.simulation.schedule_text import Command
from cluster.simulation.trace import say_ballot, span
from cluster.simulation.world import MS, SECOND, World
from cluster.spelling import nearest
from cluster.wire import Command as Operation

#: A schedule's network and disk are regular: what matters is the order, which the text controls.
NETWORK = NetworkProfile(delay_min_ns=1 * MS, delay_max_ns=1 * MS)
DISK = DiskProfile(sync_min_ns=1 * MS, sync_max_ns=1 * MS)

#: How long ``elect`` and ``wait`` wait, unless a time is given.
WAIT_NS = 5 * SECOND

#: operation -> how many arguments it has after the key
OPERATIONS = {"get": 0, "put": 1, "cas": 2, "append": 1, "incr": 1, "delete": 0}

#: operations on services, by the word a line begins with
OF_SERVICES = {
    **SERVICES, **DATA_SERVICES, "siblings": siblings, "store": store, "erase": erase
}  # fmt: skip
#: every word that a client's operation may begin with
OF_CLIENTS = (*OPERATIONS, *OF_SERVICES, *sorted(DATA_STEPS))

#: kinds of reads, of which ``linearizable`` is the one that is not named
MODES = ("lease", "follower", "session", "stale")


def execute(stage: Stage, command: Command) -> None:
    """Run one command line.

    Raises:
        ScheduleError: the line is wrong, or what it demands did not happen.
    """
    stage.line = command.line
    text, _, wanted = command.text.partition(" -> ") if _is_operation(command.text) else (
        command.text, "", "",
    )  # fmt: skip
    word, *arguments = text.split()
    if word in OF_CLIENTS:
        _operate(stage, word, arguments, wanted.strip())
    elif word == "await":
        _await(stage, arguments, wanted.strip())
    elif word in COMMANDS:
        try:
            COMMANDS[word](stage, arguments)
        except ValueError as error:
            raise stage.fail(str(error)) from error
    else:
        near = nearest(word, [*COMMANDS, *OF_CLIENTS, "await"])
        guess = f"; did you mean {near}?" if near else ""
        raise stage.fail(f"there is no command {word!r}{guess}")


def _is_operation(text: str) -> bool:
    return text.split()[0] in (*OF_CLIENTS, "await")


# -- clients


def _operate(stage: Stage, op: str, arguments: list[str], wanted: str) -> None:
    client = _begin(stage, op, arguments)
    finish(stage, client, wanted)


def _change(stage: Stage, arguments: list[str]) -> None:
    finish(stage, _begin_change(stage, arguments), "ok")


def _begin_change(stage: Stage, arguments: list[str]) -> str:
    node = arguments.pop()[1:] if arguments[-1:] and arguments[-1].startswith("@") else None
    if len(arguments) not in (3, 4) or arguments[1] not in CHANGES:
        raise stage.fail(f"change takes a client, a change and a member, not {arguments}")
    client, op, member, *rest = arguments
    call = stage.session(client).submit(Operation(op, member, tuple(rest)), to=node)
    stage.calls[client] = Running(" ".join(arguments), call, lambda value: "")
    return client


def _start(stage: Stage, arguments: list[str]) -> None:
    if len(arguments) < 2 or arguments[1] not in (*OF_CLIENTS, *CHANGES):
        raise stage.fail("start needs a client and an operation: start c2 get x")
    client, op, *rest = arguments
    if op in CHANGES:
        _begin_change(stage, arguments)
    else:
        _begin(stage, op, [client, *rest])


def _await(stage: Stage, arguments: list[str], wanted: str) -> None:
    if len(arguments) != 1 or arguments[0] not in stage.calls:
        raise stage.fail("await needs a client that has started an operation: await c2 -> ok")
    finish(stage, arguments[0], wanted)


def _begin(stage: Stage, op: str, arguments: list[str]) -> str:
    if op in OF_SERVICES:
        return begin_service(stage, op, arguments, OF_SERVICES[op])
    if op in DATA_STEPS:
        return begin_step(stage, op, arguments)
    node = None
    if arguments and arguments[-1].startswith("@"):
        node = arguments.pop()[1:]
    mode, _, bound = (_take_mode(arguments) if op == "get" else "").partition("=")
    staleness_ns = time_of(bound) if bound else 0
    count = OPERATIONS[op]
    if len(arguments) != 2 + count:
        raise stage.fail(f"{op} takes a client, a key and {count} values, not {arguments}")
    client, key, *texts = arguments
    stage.free(client, node)
    words = " ".join([client, op, key, *texts, *filter(None, [mode])])
    words += f"={bound}" if bound else ""
    words += f" @{node}" if node else ""
    operation = Operation(op, key, tuple(map(value_of, texts)))
    call = stage.session(client).submit(
        operation, mode=mode or "linearizable", to=node, staleness_ns=staleness_ns
    )
    stage.calls[client] = Running(words, call, text_of if op == "get" else lambda value: "")
    return client


def _take_mode(arguments: list[str]) -> str:
    """Take the mode off the end of a read's words; "" if there is none."""
    last = arguments[-1] if len(arguments) > 2 else ""
    return arguments.pop() if last in MODES or last.startswith(f"{BOUNDED}=") else ""


# -- set-up and time


def _seed(stage: Stage, arguments: list[str]) -> None:
    stage.seed = int(_only(stage, "seed", arguments))


def _consensus(stage: Stage, arguments: list[str]) -> None:
    stage.consensus = _only(stage, "consensus", arguments)


def _role(stage: Stage, arguments: list[str]) -> None:
    stage.role = _only(stage, "role", arguments)


def _config(stage: Stage, arguments: list[str]) -> None:
    fields = {field.name for field in msgspec.structs.fields(ClusterConfig)}
    for name, text in _pairs(stage, arguments):
        if name not in fields:
            raise stage.fail(f"ClusterConfig has no {name!r}; it has {', '.join(sorted(fields))}")
        if type(getattr(ClusterConfig(), name)) is tuple:
            stage.settings[name] = tuple(text.split(","))
        else:
            stage.settings[name] = time_of(text) if name.endswith("_ns") else value_of(text)


def _founders(stage: Stage, arguments: list[str]) -> None:
    stage.founders = arguments


def _nodes(stage: Stage, arguments: list[str]) -> None:
    if stage.started:
        raise stage.fail("nodes may come once only")
    stage.world = World(
        seed=stage.seed,
        nodes=arguments,
        founders=stage.founders,
        config=ClusterConfig(**stage.settings),
        role=stage.role,
        consensus=stage.consensus,
        ablations=stage.ablations,
        network=NETWORK,
        disk=DISK,
        check_invariants=stage.check_invariants,
    )


def _no_timeouts(stage: Stage, arguments: list[str]) -> None:
    stage.world.auto_ticks = False


def _timeouts(stage: Stage, arguments: list[str]) -> None:
    stage.world.let_timers_run()


def _timeout(stage: Stage, arguments: list[str]) -> None:
    stage.timeout_ns = time_of(_only(stage, "timeout", arguments))


def _window(stage: Stage, arguments: list[str]) -> None:
    stage.window = int(_only(stage, "window", arguments))


def _run(stage: Stage, arguments: list[str]) -> None:
    stage.world.run_for(time_of(_only(stage, "run", arguments)))


def _late(stage: Stage, arguments: list[str]) -> None:
    if len(arguments) != 2:
        raise stage.fail("late takes a node and a time: late n1 300ms")
    stage.world.late(arguments[0], time_of(arguments[1]))


def _tick(stage: Stage, arguments: list[str]) -> None:
    node = _only(stage, "tick", arguments)
    if not stage.world.tick(node):
        raise stage.fail(f"{node} has no timer to fire: it is down or paused")


def _campaign(stage: Stage, arguments: list[str]) -> None:
    _fire_alone(stage, _only(stage, "campaign", arguments))


def _fire_alone(stage: Stage, node: str) -> None:
    """Every clock passes the election timeout; only ``node`` gets its tick."""
    world, automatic = stage.world, stage.world.auto_ticks
    world.auto_ticks = False
    for other in world.nodes:
        if world.alive(other):
            world.late(other, world.config.election_max_ns)
    if not world.tick(node):
        raise stage.fail(f"{node} cannot campaign: it is down or paused")
    world.run_for(20 * MS)
    if automatic:
        world.let_timers_run()


def _elect(stage: Stage, arguments: list[str]) -> None:
    node, world = _only(stage, "elect", arguments), stage.world
    for _ in range(5):
        _fire_alone(stage, node)
        status = world.status(node)
        if status is not None and status["role"] == "leader":
            world.run_for(20 * MS)
            stage.say(f"{node} leads generation {status['generation']}")
            return
    raise stage.fail(f"{node} was not elected in five campaigns; does a majority hear it?")


# -- faults


def _cut(stage: Stage, arguments: list[str]) -> None:
    fault = LinkFault(cut=True)
    if "->" in arguments:
        pairs = [_link(stage, arguments)[0]]
    else:
        text = " ".join(arguments)
        left, bar, right = text.partition("|")
        if not bar or not left.split() or not right.split():
            raise stage.fail("cut takes two groups, n1 | n2 n3, or a direction, n1 -> n2")
        pairs = [(a, b) for a in left.split() for b in right.split()]
        pairs += [(b, a) for a, b in pairs]
    stage.cuts.update(dict.fromkeys(pairs, fault))
    stage.world.network.set_links(stage.cuts)


def _heal(stage: Stage, arguments: list[str]) -> None:
    stage.cuts.clear()
    stage.world.network.set_links({})


def _hold(stage: Stage, arguments: list[str]) -> None:
    (src, dst), kind, _ = _link(stage, arguments)
    stage.world.network.link(src, dst).hold = lambda frame: is_kind(frame, kind)


def _deliver(stage: Stage, arguments: list[str]) -> None:
    pair, frames = _take_held(stage, arguments)
    network = stage.world.network
    for frame, socket in frames:
        network.transmit(network.link(*pair), frame, socket)
    stage.say(f"delivered {kinds([each.frame for each in frames])}")


def _drop(stage: Stage, arguments: list[str]) -> None:
    stage.say(f"dropped {kinds([each.frame for each in _take_held(stage, arguments)[1]])}")


def _keep(stage: Stage, arguments: list[str]) -> None:
    pair, frames = _take_held(stage, arguments)
    stage.kept.setdefault(pair, []).extend(frames)
    stage.say(f"kept {kinds([each.frame for each in frames])}")


def _repeat(stage: Stage, arguments: list[str]) -> None:
    pair, _, _ = _link(stage, arguments)
    frames = stage.kept.pop(pair, [])
    link = stage.world.network.link(*pair)
    for frame, _socket in frames:  # a network that repeats frames does so on any connection
        stage.world.network.transmit(link, frame, link.socket)
    stage.say(f"repeated {kinds([each.frame for each in frames])}")


def _release(stage: Stage, arguments: list[str]) -> None:
    (src, dst), _, _ = _link(stage, arguments)
    stage.world.network.link(src, dst).hold = None
    if stage.world.network.link(src, dst).held:
        _deliver(stage, [src, "->", dst])


def _reconnect(stage: Stage, arguments: list[str]) -> None:
    (src, dst), _, _ = _link(stage, arguments)
    stage.world.network.link(src, dst).reconnect()


def _postpone(stage: Stage, arguments: list[str]) -> None:
    (src, dst), kind, _ = _link(stage, arguments)
    held = stage.world.network.link(src, dst).held
    first = next((i for i, each in enumerate(held) if is_kind(each.frame, kind)), None)
    if first is None:
        raise stage.fail(f"nothing of that kind is held from {src} to {dst}")
    held.append(held.pop(first))


def _take_held(stage: Stage, arguments: list[str]) -> tuple[tuple[str, str], list[HeldFrame]]:
    (src, dst), kind, count = _link(stage, arguments)
    link = stage.world.network.link(src, dst)
    taken: list[HeldFrame] = []
    left: list[HeldFrame] = []
    for each in link.held:
        wanted = is_kind(each.frame, kind) and (count is None or len(taken) < count)
        (taken if wanted else left).append(each)
    if not taken:
        raise stage.fail(f"nothing of that kind is held from {src} to {dst}")
    link.held[:] = left
    return (src, dst), taken


def _crash(stage: Stage, arguments: list[str]) -> None:
    node, *how = arguments or [""]
    if how not in ([], ["keep"], ["torn"]):
        raise stage.fail(f"crash takes a node, and keep or torn, not {' '.join(arguments)}")
    stage.world.crash(node, lose_unsynced=how != ["keep"], torn=how == ["torn"])


def _wipe(stage: Stage, arguments: list[str]) -> None:
    node = _only(stage, "wipe", arguments)
    stage.world.wipe(node, member=stage.world.member(node))


def _restart(stage: Stage, arguments: list[str]) -> None:
    node = _only(stage, "restart", arguments)
    if not stage.world.restart(node):
        stage.say(f"{node} {stage.world.why_down(node)}")


def _pause(stage: Stage, arguments: list[str]) -> None:
    stage.world.pause(_only(stage, "pause", arguments))


def _resume(stage: Stage, arguments: list[str]) -> None:
    node, *how = arguments or [""]
    if how not in ([], ["timer-first"]):
        raise stage.fail(f"resume takes a node, and timer-first, not {' '.join(arguments)}")
    stage.world.resume(node, timer_first=how == ["timer-first"])


def _clock(stage: Stage, arguments: list[str]) -> None:
    node, *rest = arguments or [""]
    options = dict(_pairs(stage, rest))
    value: dict[str, Any] = {
        "offset_ns": time_of(options.pop("offset", "0ms")),
        "rate": float(options.pop("rate", "1")),
    }
    if options:
        raise stage.fail(f"clock takes offset and rate, not {', '.join(options)}")
    stage.world.set_clock(node, **value)
    began = {"id": len(stage.clocks), "begin_ns": stage.world.now_ns, "outcome": "ok"}
    stage.clocks.append({**began, "value": value})


def _disk(stage: Stage, arguments: list[str]) -> None:
    node, *rest = arguments or [""]
    faults: dict[str, Any] = {}
    for name, text in _pairs(stage, rest):
        faults["latency_ns" if name == "latency" else name] = (
            time_of(text) if name == "latency" else value_of(text)
        )
    stage.world.set_disk(node, faults)


def _damage(stage: Stage, arguments: list[str]) -> None:
    if len(arguments) not in (2, 3) or (arguments[2:] and arguments[1] != "flip"):
        raise stage.fail(
            "damage takes a node and a kind: damage n2 lost-tail; flip may take a text"
        )
    node, kind, *text = arguments
    source = stage.world.rng("damage", node, stage.line)
    within = "".join(text).encode()
    done = damage(stage.world, node, kind, source, only="wal-", within=within)
    if done is None:
        raise stage.fail(f"the log of {node} cannot be damaged so, or another disk is damaged")


# -- looking


def _wait(stage: Stage, arguments: list[str]) -> None:
    limit_ns = time_of(arguments.pop()) if len(arguments) == 3 else WAIT_NS
    node, condition = arguments if len(arguments) == 2 else ("", "")
    pairs = _pairs(stage, [condition])
    if not stage.world.run_until(lambda: _differs(stage, node, pairs) is None, limit_ns):
        raise stage.fail(f"waited in vain for {condition}: {_differs(stage, node, pairs)}")


def _expect(stage: Stage, arguments: list[str]) -> None:
    node, *rest = arguments or [""]
    wrong = _differs(stage, node, _pairs(stage, rest))
    if wrong is not None:
        raise stage.fail(wrong)


def _differs(stage: Stage, node: str, pairs: Sequence[tuple[str, str]]) -> str | None:
    status = stage.world.status(node)
    if status is None:
        return f"{node} does not answer"
    for name, text in pairs:
        if name not in status:
            raise stage.fail(f"the status has no {name!r}; it has {', '.join(status)}")
        if text_of(status[name]) != text:
            return f"{node} has {name} {text_of(status[name])}, not {text}"
    return None


def _serve(stage: Stage, arguments: list[str]) -> None:
    limit_ns = time_of(arguments[0]) if arguments else 2 * SECOND
    world, outcomes = stage.world, list[Any]()
    session = world.session(WITNESS)
    command = Operation("put", WITNESS_KEY, (world.now_ns,))
    session.submit(command, timeout_ns=limit_ns, done=outcomes.append)
    world.run_until(lambda: bool(outcomes), limit_ns + SECOND)
    served = bool(outcomes) and outcomes[0].status == "ok"
    problem = "" if served else f"no write was acknowledged within {limit_ns / SECOND:g} s"
    stage.owes(problem, "a write is served")


def _idle(stage: Stage, arguments: list[str]) -> None:
    node = _only(stage, "idle", arguments)
    status = stage.world.status(node)
    if status is None:
        raise stage.fail(f"{node} does not answer")
    waiting = status["pending"]
    problem = f"{waiting} requests still wait at {node} for an answer" if waiting else ""
    stage.owes(problem, f"no request waits at {node}")


def _undisturbed(stage: Stage, arguments: list[str]) -> None:
    limit_ns = time_of(arguments.pop()) if len(arguments) == 2 else WAIT_NS
    node = _only(stage, "undisturbed", arguments)
    before = stage.world.status(node)
    if before is None or before["role"] != "leader":
        raise stage.fail(f"{node} does not lead")
    led = [("role", "leader"), ("generation", str(before["generation"]))]
    stage.world.run_for(limit_ns)
    stage.owes(_differs(stage, node, led) or "", f"{node} leads on")


def _settle(stage: Stage, arguments: list[str]) -> None:
    stage.owes("; ".join(settle(stage.world).problems), "settled")


def _trial(stage: Stage, arguments: list[str]) -> None:
    name = _only(stage, "trial", arguments)
    if name not in trials_for(stage.world):
        raise stage.fail(f"no trial {name!r}; there are {', '.join(trials_for(stage.world))}")
    stage.owes(hold_trial(stage.world, name), f"{name}: stood")


def _leader(stage: Stage, arguments: list[str]) -> None:
    stage.say(f"leader {stage.world.leader() or 'none'}")


def _status(stage: Stage, arguments: list[str]) -> None:
    node = _only(stage, "status", arguments)
    status = stage.world.status(node)
    if status is None:
        stage.say(f"{node} does not answer")
        return
    stage.say(
        f"{node} {status['role']} of generation {status['generation']}, last "
        f"{status['last_index']}, high-water mark {status['high_water_mark']}, "
        f"applied {status['applied']}"
    )


def _log(stage: Stage, arguments: list[str]) -> None:
    node = _only(stage, "log", arguments)
    entries = stage.world.log(node)
    if entries is None:
        stage.say(f"{node} does not answer")
        return
    stage.say(f"{node} log " + (" ".join(span((entry,)) for entry in entries) or "empty"))


def _register(stage: Stage, arguments: list[str]) -> None:
    if len(arguments) != 2:
        raise stage.fail("register takes a node and a key: register n1 x")
    node, key = arguments
    core = stage.world.core(node)
    if not isinstance(core, PaxosRegisters):
        raise stage.fail(f"{node} is down, or has no registers: begin with: role paxos")
    held = core.acceptors.find(key)
    value = text_of(register_value(key, held.value))
    words = f"promised {say_ballot(held.promised)}, accepted {say_ballot(held.accepted)}"
    stage.say(f"{node} {key}: {words}, value {value}")


# -- words


def _only(stage: Stage, command: str, arguments: list[str]) -> str:
    if len(arguments) != 1:
        raise stage.fail(f"{command} takes one argument, not {len(arguments)}")
    return arguments[0]


def _pairs(stage: Stage, arguments: Sequence[str]) -> list[tuple[str, str]]:
    pairs = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not equals or not name:
            raise stage.fail(f"expected name=value, not {argument!r}")
        pairs.append((name, value))
    return pairs


def _link(stage: Stage, arguments: list[str]) -> tuple[tuple[str, str], str | None, int | None]:
    """``A -> B [KIND] [N]``."""
    match = re.fullmatch(
        r"(\S+)\s*->\s*(\S+)(?:\s+([A-Za-z][\w:,-]*))?(?:\s+(\d+))?", " ".join(arguments)
    )
    if match is None:
        raise stage.fail(f"expected A -> B [kind] [number], not {' '.join(arguments)}")
    src, dst, kind, count = match.groups()
    return (src, dst), kind, int(count) if count else None


COMMANDS: dict[str, Callable[[Stage, list[str]], None]] = {
    "seed": _seed, "consensus": _consensus, "role": _role, "config": _config,
    "founders": _founders, "nodes": _nodes, "change": _change, "no-timeouts": _no_timeouts,
    "timeouts": _timeouts, "run": _run, "late": _late, "tick": _tick, "campaign": _campaign,
    "elect": _elect, "start": _start, "cut": _cut, "heal": _heal, "hold": _hold,
    "deliver": _deliver, "drop": _drop, "keep": _keep, "repeat": _repeat, "release": _release,
    "reconnect": _reconnect,
    "crash": _crash, "wipe": _wipe,
    "restart": _restart, "pause": _pause, "resume": _resume, "clock": _clock, "disk": _disk,
    "damage": _damage,
    "timeout": _timeout, "window": _window, "idle": _idle,
    "wait": _wait, "expect": _expect, "leader": _leader,
    "status": _status, "log": _log, "register": _register, "holds": holds, "postpone": _postpone,
    "serve": _serve, "undisturbed": _undisturbed, "settle": _settle, "trial": _trial,
    **DATA_COMMANDS,
}  # fmt: skip

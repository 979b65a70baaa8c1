"""Commands of directed schedules about role ``data``: partitions and transactions over groups.

Operations of clients; each may end in ``@N`` and in ``-> OUT``, and may be started and awaited:

    txn-run C [isolation=LEVEL] [staleness=TIME] PART, PART, ...
                                a whole transaction, sent at once; a PART is ``r KEY``,
                                ``w KEY VALUE`` or ``append KEY VALUE``
    txn-begin C [isolation=LEVEL] [staleness=TIME]
                                the same step by step, at the node where it begins
    txn-read C KEY | txn-write C KEY VALUE | txn-append C KEY VALUE | txn-commit C | txn-abort C
    scan C LOW HIGH of KEY KEY ...
                                the keys from LOW up to but without HIGH in one transaction; the
                                history has what the scan says of the keys that are named
    act-on C KEY                acts on a key; the history has who owned its partition, under which
                                epoch, and the act's number among those on the key
    transfer C FROM TO AMOUNT   reads two accounts and writes both, in one transaction
    accounts C [staleness=TIME] KEY KEY ...
                                reads the balance of each in one transaction
    partition-move C KEY GROUP  an operator: the partition of this key moves to this group
    partition-split C KEY | partition-merge C KEY
                                a range is cut at a key; two neighbours are joined there

What the world is made to do, and looked at:

    placed [TIME]               wait for the first map: every node has it, every group a leader
    joined N                    wait until N has a group of its own that has partitions, and all is
                                as after ``placed``
    place KEY [@N]              print where a key is, by the map of a node (n1)
    lead N GROUP                make N the leader of a group that it is a member of
    caught A -> B KIND          wait until a frame of this kind is held
    has N GROUP KEY             wait until the group has the key's partition, by the log at N
    knows N KEY GROUP           wait until the map of N names this group for the key
    open N GROUP COUNT          wait until that many transactions have intents in the group, by N
    intents GROUP [@N]          print how many transactions have intents in a group
    commits KEY [TIME] [@N]     a transaction that writes the key must commit in time (2s)

A transaction is one event of the history, named ``txn``, however many steps it takes; transfers and
reads of accounts are those of the checker ``bank``. Used by
:mod:`cluster.simulation.schedule_commands`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cluster.client.session import Complete
from cluster.core.replica import Replica
from cluster.data.node import DataNode
from cluster.data.partition_machine import PartitionMachine
from cluster.data.partition_record import OWNED
from cluster.data.placement_part import PlacementPart
from cluster.data.replicated_groups import home_group
from cluster.simulation.schedule_frames import is_kind
from cluster.simulation.schedule_services import Operation, Steps, micro_operation, tell_operations
from cluster.simulation.schedule_stage import (
    Interactive,
    Memory,
    Running,
    Stage,
    text_of,
    time_of,
    value_of,
)
from cluster.simulation.sessions import Call
from cluster.simulation.world import SECOND
from cluster.wire import Command

#: How long ``placed``, ``lead``, ``caught``, ``has`` and ``knows`` wait.
WAIT_NS = 10 * SECOND
#: The client of ``commits``.
JUDGE = "judge"


# -- whole transactions


def _options(words: list[str]) -> dict[str, Any]:
    """Take the leading ``name=value`` words away, and give them as a transaction's options."""
    options: dict[str, Any] = {}
    while words and "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        if name == "isolation":
            options["isolation"] = value
        elif name == "staleness":
            options["staleness_ns"] = time_of(value)
        else:
            raise ValueError(f"a transaction has isolation and staleness, not {name!r}")
    return options


def _txn_run(memory: Memory, arguments: list[str]) -> Operation:
    words = list(arguments)
    options = _options(words)
    asked = [micro_operation(part.split()) for part in " ".join(words).split(",")]

    def steps() -> Steps:
        done = yield Command("txn-run", "", (asked, options))
        return (done.status, done.value, done.error)

    return Operation("txn", "", asked, steps(), tell_operations)


def _scan(memory: Memory, arguments: list[str]) -> Operation:
    low, high, of, *keys = [*arguments, "", "", ""][: max(3, len(arguments))]
    if of != "of" or not keys:
        raise ValueError("expected a client, LOW, HIGH, of, and the keys to look for")

    def steps() -> Steps:
        done = yield Command("txn-run", "", ([["scan", [low, high], None]], {}))
        if done.status != "ok":
            return (done.status, None, done.error)
        rows = dict(done.value[0][2])
        return ("ok", [["r", key, rows.get(key)] for key in keys], "")

    return Operation("txn", "", [["r", key, None] for key in keys], steps(), tell_operations)


def _act(memory: Memory, arguments: list[str]) -> Operation:
    if len(arguments) != 1:
        raise ValueError(f"expected a client and a key, not {' '.join(arguments)!r}")
    key = arguments[0]

    def steps() -> Steps:
        asked = [["append", key, 1], ["r", key, None]]
        done = yield Command("txn-run", "", (asked, {"owners": True}))
        if done.status != "ok":
            return (done.status, None, done.error)
        ((_, partition, epoch, group),) = done.value["owners"]
        count = len(done.value["operations"][1][2])
        owner = {"partition": partition, "epoch": epoch, "group": group, "count": count}
        return ("ok", owner, "")

    return Operation("act", key, None, steps(), _tell_owner)


def _tell_owner(owner: dict[str, Any]) -> str:
    return "{group} of {partition} at epoch {epoch}, number {count}".format(**owner)


# -- a bank


def _transfer(memory: Memory, arguments: list[str]) -> Operation:
    if len(arguments) != 3:
        raise ValueError(f"expected a client, FROM, TO, AMOUNT, not {' '.join(arguments)!r}")
    source, target, amount = arguments[0], arguments[1], int(arguments[2])

    def steps() -> Steps:
        begun = yield Command("txn-begin", "", ({},))
        if begun.status != "ok":
            return ("fail", None, begun.error)
        txn, balances = begun.value["txn"], {}
        for account in (source, target):
            read = yield Command("txn-read", txn, (account,))
            if read.status != "ok":
                return ("fail", None, read.error)
            balances[account] = read.value
        for account, change in ((source, -amount), (target, amount)):
            wrote = yield Command("txn-write", txn, (account, balances[account] + change))
            if wrote.status != "ok":
                return ("fail", None, wrote.error)
        done = yield Command("txn-commit", txn)
        return (done.status, None, done.error)

    moved = {"from": source, "to": target, "amount": amount}
    return Operation("transfer", "", moved, steps(), lambda value: "")


def _accounts(memory: Memory, arguments: list[str]) -> Operation:
    words = list(arguments)
    options = _options(words)

    def steps() -> Steps:
        done = yield Command("txn-run", "", ([["r", key, None] for key in words], options))
        if done.status != "ok":
            return ("fail", None, done.error)
        return ("ok", {key: value for _, key, value in done.value}, "")

    return Operation("read", "", None, steps(), _tell_accounts)


def _tell_accounts(balances: dict[str, Any]) -> str:
    words = ", ".join(f"{key} {text_of(value)}" for key, value in balances.items())
    return f"{words}: {sum(value or 0 for value in balances.values())} in all"


DATA_SERVICES: dict[str, Callable[[Memory, list[str]], Operation]] = {
    "txn-run": _txn_run, "scan": _scan, "act-on": _act, "transfer": _transfer,
    "accounts": _accounts,
}  # fmt: skip


# -- transactions step by step, and what operators ask for


#: word -> how many arguments it has
STEPS = {"txn-read": 1, "txn-write": 2, "txn-append": 2, "txn-commit": 0, "txn-abort": 0}
REQUESTS = {"partition-move": 2, "partition-split": 1, "partition-merge": 1}
DATA_STEPS = frozenset((*STEPS, *REQUESTS, "txn-begin"))


def begin_step(stage: Stage, word: str, arguments: list[str]) -> str:
    """Begin a step of a transaction, or an operator's request.

    Args:
        stage: where.
        word: the command.
        arguments: its words, the client first.

    Returns:
        The client.

    Raises:
        ScheduleError: the words are wrong, or the client waits for something, or has no
            transaction.
    """
    client, *rest = arguments or [""]
    words = " ".join([client, word, *rest])
    node = rest.pop()[1:] if rest and rest[-1].startswith("@") else None
    stage.free(client, node)
    count = {**STEPS, **REQUESTS}.get(word)
    if count is not None and len(rest) != count:
        raise stage.fail(f"{word} takes a client and {count} arguments, not {rest}")
    if word == "txn-begin":
        _begin_transaction(stage, client, words, rest, node)
    elif word in STEPS:
        _go_on(stage, client, word, words, rest)
    else:
        _request(stage, client, word, words, rest, node)
    return client


def _begin_transaction(
    stage: Stage, client: str, words: str, rest: list[str], node: str | None
) -> None:
    try:
        options = _options(rest)
    except ValueError as error:
        raise stage.fail(f"txn-begin: {error}") from error
    asked: list[Any] = []
    whole = Call(client, Command("txn", "", (asked,)), to=node or "")
    live = stage.transactions[client] = Interactive(whole, asked)
    stage.world.client_log.append((stage.world.now_ns, whole, True))

    def begun(done: Complete) -> None:
        if done.status == "ok":
            live.txn = done.value["txn"]
        else:
            _end(stage, client, "fail", done.error)

    _submit(stage, client, words, Command("txn-begin", "", (options,)), node, begun, None)


def _go_on(stage: Stage, client: str, word: str, words: str, rest: list[str]) -> None:
    if client not in stage.transactions:
        raise stage.fail(f"{client} has no transaction; begin one with: txn-begin {client}")
    live = stage.transactions[client]
    if live is None:
        ended = Call(client, Command(word, ""), status="fail", error="its transaction has ended")
        stage.calls[client] = Running(words, ended, text_of)
        return
    args = (*rest[:1], *map(value_of, rest[1:]))
    kind = {"txn-read": "r", "txn-write": "w", "txn-append": "append"}.get(word, "")
    if kind:
        live.asked.append([kind, rest[0], args[1] if len(args) > 1 else None])

    def stepped(done: Complete) -> None:
        if kind and done.status == "ok":
            live.done.append([kind, rest[0], done.value if kind == "r" else args[1]])
        elif word == "txn-commit":
            _end(stage, client, done.status, done.error)
        else:  # given up: nothing of it has left the node
            _end(stage, client, "fail", done.error or "given up")

    tell = text_of if kind == "r" else None
    _submit(stage, client, words, Command(word, live.txn, args), live.call.to, stepped, tell)


def _end(stage: Stage, client: str, status: str, error: str) -> None:
    live = stage.transactions[client]
    assert live is not None, f"the transaction of {client} ends twice"
    stage.transactions[client] = None
    live.call.status, live.call.value, live.call.error = status, live.done, error
    stage.world.client_log.append((stage.world.now_ns, live.call, False))


def _request(
    stage: Stage, client: str, word: str, words: str, rest: list[str], node: str | None
) -> None:
    key, *to = rest
    if word == "partition-move":
        found = _placement(stage, node or stage.world.nodes[0]).partition_of(key)
        if found is None:
            raise stage.fail(f"there is no partition of {key!r} yet; wait with: placed")
        key = found.id
    _submit(stage, client, words, Command(word, key, tuple(to)), node, lambda done: None, None)


def _submit(
    stage: Stage,
    client: str,
    words: str,
    command: Command,
    node: str | None,
    done: Callable[[Complete], None],
    tell: Callable[[Any], str] | None,
) -> None:
    session = stage.world.session(client, timeout_ns=stage.timeout_ns)
    call = session.submit(command, to=node or None, recorded=False, done=done)
    stage.calls[client] = Running(words, call, tell or (lambda value: ""))


# -- what the world is made to do


def _core(stage: Stage, node: str) -> DataNode:
    core = stage.world.core(node)
    if not isinstance(core, DataNode):
        raise stage.fail(f"{node} is down, or is no node of role data")
    return core


def _replica(stage: Stage, node: str, group: str) -> Replica:
    replica = _core(stage, node).groups.replica(group)
    if replica is None:
        raise stage.fail(f"{node} is not a member of {group}")
    return replica


def _machine(stage: Stage, node: str, group: str) -> PartitionMachine:
    machine = _replica(stage, node, group).state.machine
    assert isinstance(machine, PartitionMachine), f"{group} has no partitions"
    return machine


def _placement(stage: Stage, node: str) -> Any:
    part = _core(stage, node).placement
    assert isinstance(part, PlacementPart), f"{node} has no map"
    return part.placement


def _await(stage: Stage, what: str, holds: Callable[[], bool], limit_ns: int = WAIT_NS) -> None:
    if not stage.world.run_until(holds, limit_ns):
        raise stage.fail(f"waited in vain: {what}")


def _placed(stage: Stage, arguments: list[str]) -> None:
    limit_ns = time_of(arguments[0]) if arguments else WAIT_NS
    world = stage.world

    def settled() -> bool:
        up = [name for name in world.nodes if world.alive(name)]
        maps = [_placement(stage, name) for name in up]
        if not all(each.ready for each in maps):
            return False
        owned = all(each.state == OWNED for each in maps[0].partitions.values())
        same = all(each.partitions == maps[0].partitions for each in maps)
        led = {group for name in up for group in _led(stage, name)}
        return owned and same and set(maps[0].groups) <= led

    _await(stage, "not every node has one map, or a group has no leader", settled, limit_ns)


def _joined(stage: Stage, arguments: list[str]) -> None:
    (node,) = _exactly(stage, "joined", arguments, "a node")
    place, group = _placement(stage, stage.world.nodes[0]), home_group(node)

    def shares() -> bool:
        return any(each.group == group for each in place.partitions.values())

    _await(stage, f"{node} has no partitions", shares, 2 * WAIT_NS)
    _placed(stage, ["20s"])


def _led(stage: Stage, node: str) -> list[str]:
    groups = _core(stage, node).groups
    return [name for name in groups.names if groups.leads(name)]


def _place(stage: Stage, arguments: list[str]) -> None:
    node = arguments.pop()[1:] if arguments[-1].startswith("@") else stage.world.nodes[0]
    for key in arguments:
        found = _placement(stage, node).partition_of(key)
        where = "nowhere" if found is None else f"{found.id} of {found.group}, epoch {found.epoch}"
        stage.say(f"{key} is in {where}")


def _lead(stage: Stage, arguments: list[str]) -> None:
    node, group = _exactly(stage, "lead", arguments, "a node", "a group")
    world = stage.world
    for name in world.nodes:
        if world.alive(name) and name != node and group in _led(stage, name):
            _replica(stage, name, group).consensus.transfer_leadership(world.now_ns, node)
            world.tick(name)
    _await(stage, f"{node} does not lead {group}", lambda: group in _led(stage, node))
    world.run_for(SECOND // 10)  # the others hear of it
    stage.say(f"{node} leads {group}")


def _caught(stage: Stage, arguments: list[str]) -> None:
    src, arrow, dst, kind = _exactly(stage, "caught", arguments, "A", "->", "B", "a kind")
    if arrow != "->":
        raise stage.fail("caught takes a link and a kind: caught n1 -> n2 g-n2:p-prepare")
    held = stage.world.network.link(src, dst).held
    _await(
        stage,
        f"no {kind} from {src} to {dst} is held",
        lambda: any(is_kind(each.frame, kind) for each in held),
    )


def _has(stage: Stage, arguments: list[str]) -> None:
    node, group, key = _exactly(stage, "has", arguments, "a node", "a group", "a key")
    found = _placement(stage, node).partition_of(key)
    machine = _machine(stage, node, group)
    _await(
        stage, f"{group} has not {found.id} by the log at {node}",
        lambda: found.id in machine.store.ownership.held,
    )  # fmt: skip


def _knows(stage: Stage, arguments: list[str]) -> None:
    node, key, group = _exactly(stage, "knows", arguments, "a node", "a key", "a group")
    place = _placement(stage, node)
    _await(
        stage, f"the map of {node} has not {key} in {group}",
        lambda: place.partition_of(key).group == group,
    )  # fmt: skip


def _intents(stage: Stage, arguments: list[str]) -> None:
    node = arguments.pop()[1:] if arguments[-1].startswith("@") else ""
    (group,) = _exactly(stage, "intents", arguments, "a group")
    leader = node or next((n for n in stage.world.nodes if group in _led(stage, n)), "")
    if not leader:
        raise stage.fail(f"{group} has no leader")
    stage.say(f"{len(_prepared(stage, leader, group))} with intents in {group}")


def _open(stage: Stage, arguments: list[str]) -> None:
    node, group, count = _exactly(stage, "open", arguments, "a node", "a group", "a number")
    _await(
        stage, f"{group} has intents of {len(_prepared(stage, node, group))} transactions",
        lambda: len(_prepared(stage, node, group)) == int(count),
    )  # fmt: skip


def _prepared(stage: Stage, node: str, group: str) -> dict[str, Any]:
    return _machine(stage, node, group).participant.prepared


def _commits(stage: Stage, arguments: list[str]) -> None:
    node = arguments.pop()[1:] if arguments[-1].startswith("@") else None
    key, *rest = arguments
    limit_ns = time_of(rest[0]) if rest else 2 * SECOND
    world, outcomes = stage.world, list[Complete]()
    asked = [["w", key, world.now_ns]]
    whole = Call(JUDGE, Command("txn", "", (asked,)), to=node or "")
    world.client_log.append((world.now_ns, whole, True))

    def ended(done: Complete) -> None:
        whole.status, whole.value, whole.error = done.status, done.value, done.error
        world.client_log.append((world.now_ns, whole, False))
        outcomes.append(done)

    session = world.session(JUDGE, attempt_ns=limit_ns)
    command = Command("txn-run", "", (asked, {}))
    session.submit(command, to=node, timeout_ns=limit_ns, recorded=False, done=ended)
    world.run_until(lambda: bool(outcomes), limit_ns + SECOND)
    done = bool(outcomes) and outcomes[0].status == "ok"
    why = _plain(outcomes[0].error) if outcomes else "no answer"
    problem = "" if done else f"no transaction on {key} committed in {limit_ns / SECOND:g} s: {why}"
    stage.owes(problem, f"a transaction on {key} commits")


def _plain(error: str) -> str:
    """An error without its last part, which has numbers that say nothing to a reader."""
    return error.split(":")[0]


def _exactly(stage: Stage, word: str, arguments: list[str], *names: str) -> list[str]:
    if len(arguments) != len(names):
        raise stage.fail(f"{word} takes {', '.join(names)}, not {' '.join(arguments)!r}")
    return arguments


DATA_COMMANDS: dict[str, Callable[[Stage, list[str]], None]] = {
    "placed": _placed, "joined": _joined, "place": _place, "lead": _lead, "caught": _caught,
    "has": _has, "knows": _knows, "intents": _intents, "open": _open, "commits": _commits,
}  # fmt: skip

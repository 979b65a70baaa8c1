"""Link faults by the kernel: shell scripts for one node's network, and parsers of their output.

Pure: from the wanted link faults of a node to a script for ``sh``, and from the output of such a
script to numbers. Nothing is executed here, so `netns`, `docker` and `ssh` share it, and its
output is tested as text. :mod:`harness.environments.network.kernel` executes it.

Where a fault is made. A cut from a to b is made at b, which drops what comes from a: a's packets
leave it and are lost, as on a cable. Delay and the like are made at a, on its way out, since that
is where Linux has queues. Both filter by the peer's address alone, so that clients of the harness
are never touched.

Ours alone. Packets are dropped in a table ``inet splitbrain`` (nftables) or a chain ``SPLITBRAIN``
(iptables) of our own, queues hang under a root qdisc with the handle ``5b1:``. Healing removes
these and nothing else; a root qdisc of another origin is not replaced but refused.

Fall-back order for cuts: nftables, else iptables, else (no packet filter at all) netem with a loss
of 100 % at the sender. Delay, jitter, loss, duplication, reordering, corruption and rate need
netem, and there is no second way to them: without it they are refused with a sentence.

Evidence. Rules count dropped packets, and passing ones too; packets that went through a slow queue
are counted by it (``tc -s``). netem does not count what it duplicates, reorders and corrupts, so
the receiver's TCP is asked instead: checksum errors, segments out of order, duplicates reported to
the sender. These are counted per node, and shown on each of its incoming links with such a fault.
TCP hides all three from the system under test, apart from the time they cost.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from harness.environments.base import LinkFault
from harness.errors import UsageError

TABLE = "splitbrain"
CHAIN = "SPLITBRAIN"
#: major number of our root qdisc, in hexadecimal
ROOT = "5b1"
#: before connection tracking and before any other filter
PRIORITY = -310
#: a prio qdisc has 16 bands at most; 3 of them carry everything that is not faulty
BANDS_PLAIN = 3
BANDS_FAULTY_MAX = 16 - BANDS_PLAIN
#: packets a slow queue holds, so that a delay is not a loss
QUEUE_PACKETS = 100_000
#: netem reorders by letting some packets overtake delayed ones; this is the delay if none is asked
REORDER_GAP_NS = 10_000_000
_PRIOMAP = "1 2 2 2 1 2 0 0 1 1 1 1 1 1 1 1"
_MARK = "=== splitbrain"
#: what Linux takes for an interface, without what a shell would understand
_DEVICE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@:-]{0,14}")

_ALL_IPTABLES = ("iptables", "iptables-legacy", "ip6tables", "ip6tables-legacy")
#: what to know of netem's faults, in lists and reports
BY_NETEM = "TCP hides duplicate, reorder and corrupt, apart from the time they cost"
CUT_TOOLS = ("nft", "iptables", "iptables-legacy", "netem")


class Peer(msgspec.Struct, frozen=True):
    """Another node as this one sees it.

    Args:
        number: its number in the run, from 1; names our counters.
        name: its name.
        address: its IP address.
        device: this node's interface towards it.
    """

    number: int
    name: str
    address: str
    device: str

    @property
    def v6(self) -> bool:
        """Whether its address is IPv6."""
        return ":" in self.address


def peers_of(machines: Sequence[Located], *, device: str) -> dict[str, list[Peer]]:
    """Per machine, all others, behind an interface of the same name."""
    seen = [Peer(each.index, each.name, each.address, device) for each in machines]
    return {each.name: [peer for peer in seen if peer.name != each.name] for each in machines}


class Located(Protocol):
    """A machine, as far as its peers know it."""

    @property
    def index(self) -> int:
        """Its number in the run, from 1."""
        ...

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def address(self) -> str:
        """Its address."""
        ...


class Tools(msgspec.Struct, frozen=True):
    """The abilities of a node's kernel and programs.

    Args:
        cut: what drops packets, one of :data:`CUT_TOOLS`, or "" if nothing can.
        netem: whether tc can add a netem queue.
        why: for each tool that is missing, what it said.
    """

    cut: str
    netem: bool
    why: dict[str, str] = {}


class Wanted(msgspec.Struct, frozen=True):
    """The tasks of one node's kernel for the wanted link faults.

    Args:
        cuts: names of peers whose packets it drops as they arrive.
        slow: per peer, what happens to packets on their way there.
    """

    cuts: frozenset[str] = frozenset()
    slow: Mapping[str, LinkFault] = {}


class Reading(msgspec.Struct):
    """The state of our rules in a node's kernel.

    Args:
        installed: whether our table or chain is there.
        passed, dropped: packets that arrived from a peer's address, since the rules were made.
        dropping: addresses whose packets are dropped now.
        queues: per band of our root qdisc: packets through it, packets it dropped.
        devices: interfaces whose root qdisc is ours.
        tcp: the receiver's counters (corrupted, reordered, duplicated), since the node's start.
    """

    installed: bool = False
    passed: dict[str, int] = {}
    dropped: dict[str, int] = {}
    dropping: set[str] = set()
    queues: dict[tuple[str, int], tuple[int, int]] = {}
    devices: set[str] = set()
    tcp: dict[str, int] = {}


def is_device(name: object) -> bool:
    """Whether something can be the name of a network interface."""
    return isinstance(name, str) and _DEVICE.fullmatch(name) is not None


# What must be so at each node -----------------------------------------------------------------


def wanted(
    faults: Mapping[tuple[str, str], LinkFault], nodes: Sequence[str], *, cut_by: str = "nft"
) -> dict[str, Wanted]:
    """The tasks of each node, from the faults of directed links.

    Args:
        faults: per (source, target); what is not named is healthy.
        nodes: names of all nodes.
        cut_by: the tool for cuts; with ``netem`` a cut is a loss of everything at the source.
    """
    cuts: dict[str, set[str]] = {name: set() for name in nodes}
    slow: dict[str, dict[str, LinkFault]] = {name: {} for name in nodes}
    for (source, target), fault in sorted(faults.items()):
        if fault == LinkFault():
            continue
        if not fault.cut:
            slow[source][target] = fault
        elif cut_by == "netem":
            slow[source][target] = LinkFault(loss=1.0)
        else:
            cuts[target].add(source)
    return {name: Wanted(frozenset(cuts[name]), slow[name]) for name in nodes}


# Scripts --------------------------------------------------------------------------------------


#: what our rules are made of, made and unmade in one transaction
_NFT_PROBE = (
    f"add table inet {TABLE}_probe; add counter inet {TABLE}_probe c; "
    f"add chain inet {TABLE}_probe i {{ type filter hook input priority {PRIORITY} ; }}; "
    f'add rule inet {TABLE}_probe i ip saddr 192.0.2.1 counter name "c" drop; '
    f"delete table inet {TABLE}_probe"
)


def _iptables_probe(run: str) -> str:
    chain = f"{CHAIN}_PROBE"
    undo = f"{run} -F {chain} && {run} -X {chain}"
    return f"{run} -N {chain} && {run} -A {chain} -s 192.0.2.1 -j DROP && {undo}"


def probe_script(*, own_namespace: bool) -> str:
    """A script that finds out which tools work, changing nothing.

    Args:
        own_namespace: True to try on a network of its own (a host's loopback is not ours to try
            on); False where the whole network namespace is the node's.
    """
    within = "unshare -n " if own_namespace else ""
    tries = {
        "nft": f"nft {shlex.quote(_NFT_PROBE)}",
        "iptables": _iptables_probe("iptables -w 5"),
        "iptables-legacy": _iptables_probe("iptables-legacy -w 5"),
        "netem": "tc qdisc add dev lo root netem delay 1ms && tc qdisc del dev lo root && "
        "tc qdisc add dev lo root handle 5b1: prio bands 4 && tc qdisc del dev lo root",
    }
    tries = {name: f"{within}sh -c {shlex.quote(script)}" for name, script in tries.items()}
    lines = []
    for name, command in tries.items():
        lines.append(f"if said=$({command} 2>&1); then echo {name} yes;")
        lines.append(f'else echo {name} no "$(echo "$said" | head -n 1)"; fi')
    return "\n".join(lines) + "\n"


def read_probe(text: str) -> Tools:
    """What :func:`probe_script` found."""
    answers = dict(line.split(" ", 1) for line in text.splitlines() if " " in line)
    have = {name: answers.get(name, "no").startswith("yes") for name in CUT_TOOLS}
    why = {
        name: answers.get(name, "no not tried").removeprefix("no").strip() or "it failed"
        for name in CUT_TOOLS
        if not have[name]
    }
    cut = next((name for name in CUT_TOOLS if have[name]), "")
    return Tools(cut, have["netem"], why)


def explain(tools: Tools) -> str:
    """The fall-back order and what was chosen, in a sentence; `harness doctor` shows it."""
    order = {name: "nftables" if name == "nft" else name for name in CUT_TOOLS}
    missing = "; ".join(f"{order.get(name, name)}: {why}" for name, why in tools.why.items())
    cut = f"cuts by {order[tools.cut]}" if tools.cut else "no cuts"
    slow = "delay, loss, rate ... by netem" if tools.netem else "no delay or loss (no netem)"
    return f"{cut}, {slow}" + (f" [missing: {missing}]" if missing else "")


def no_netem(where: str, tools: Tools) -> str:
    """Why faults other than cuts do not work there, and what to do about it."""
    why = tools.why.get("netem", "it failed")
    return (
        f"{where} cannot delay or lose packets, since its kernel has no netem queue (tc said: "
        f"{why}); load it (`modprobe sch_netem`, in Debian's linux-image, Fedora's "
        "kernel-modules-extra), or use --env local; partitions work without it"
    )


def read_script(tools: Tools, peers: Sequence[Peer]) -> str:
    """A script that prints our rules, queues and counters; see :func:`read`."""
    lines = [f"echo '{_MARK} filter'"]
    if tools.cut == "nft":
        lines.append(f"nft -j list table inet {TABLE} 2>/dev/null || :")
    elif tools.cut != "netem":
        lines.append(f"{_iptables(tools, peers)} -nvxL {CHAIN} 2>/dev/null || :")
    if tools.netem:
        for device in sorted({peer.device for peer in peers}):
            lines.append(f"echo {shlex.quote(f'{_MARK} queues {device}')}")
            lines.append(f"tc -s -j qdisc show dev {shlex.quote(device)} 2>/dev/null || :")
    lines += [f"echo '{_MARK} tcp'", "cat /proc/net/snmp /proc/net/netstat", f"echo '{_MARK} end'"]
    return "\n".join(lines) + "\n"


def apply_script(tools: Tools, peers: Sequence[Peer], want: Wanted) -> str:
    """A script that prints counters as :func:`read_script` does, then makes the node's links so.

    Rules change in one transaction: there is no moment at which nothing is cut.

    Raises:
        UsageError: the links cannot be made so with these tools.
    """
    if want.slow and not tools.netem:
        raise UsageError(no_netem("this node", tools))
    if want.cuts and not tools.cut:
        raise UsageError("this node can cut no links: neither nft nor iptables works there")
    script = "set -e\n" + read_script(tools, peers)
    if tools.cut == "nft":
        script += _nft(peers, want)
    elif tools.cut not in ("", "netem"):
        script += _iptables_rules(tools, peers, want)
    if tools.netem:
        script += _tc(peers, want)
    return script


def remove_script(devices: Sequence[str]) -> str:
    """A script that removes all that is ours, with the tools there are. Idempotent."""
    lines = [f"nft delete table inet {TABLE} 2>/dev/null || :"]
    for tool in _ALL_IPTABLES:
        lines += [
            f"if {tool} -w 5 -n -L {CHAIN} >/dev/null 2>&1; then",
            f"  while {tool} -w 5 -D INPUT -j {CHAIN} 2>/dev/null; do :; done",
            f"  {tool} -w 5 -F {CHAIN}; {tool} -w 5 -X {CHAIN}",
            "fi",
        ]
    lines += [_remove_queues(device) for device in sorted(set(devices))]
    return "\n".join(lines) + "\n"


def left_script(devices: Sequence[str]) -> str:
    """A script that prints a phrase for each thing of ours which is still there."""
    lines = [
        f"nft list table inet {TABLE} >/dev/null 2>&1 && echo 'nftables table inet {TABLE}' || :"
    ]
    for tool in _ALL_IPTABLES:
        found = f"echo '{tool} chain {CHAIN}'"
        lines.append(f"{tool} -w 5 -n -L {CHAIN} >/dev/null 2>&1 && {found} || :")
    for device in sorted(set(devices)):
        shown = f"tc qdisc show dev {shlex.quote(device)} 2>/dev/null"
        said = shlex.quote(f"queues on {device}")
        lines.append(f"{shown} | grep -q ' {ROOT}: root' && echo {said} || :")
    return "\n".join(lines) + "\n"


def _iptables(tools: Tools, peers: Sequence[Peer]) -> str:
    name = tools.cut.replace("iptables", "ip6tables") if any(p.v6 for p in peers) else tools.cut
    return f"{name} -w 5"


def _nft(peers: Sequence[Peer], want: Wanted) -> str:
    hook = f"{{ type filter hook input priority {PRIORITY} ; policy accept ; }}"
    lines = [f"add table inet {TABLE}"]
    for peer in peers:
        lines += [f"add counter inet {TABLE} {kind}_{peer.number}" for kind in _KINDS]
    lines += [f"add chain inet {TABLE} input {hook}", f"flush chain inet {TABLE} input"]
    for peer in peers:
        source = f"{'ip6' if peer.v6 else 'ip'} saddr {peer.address}"
        kind, verdict = ("dropped", " drop") if peer.name in want.cuts else ("passed", "")
        counter = f'counter name "{kind}_{peer.number}"'
        lines.append(f"add rule inet {TABLE} input {source} {counter}{verdict}")
    return "nft -f - <<'END'\n" + "\n".join(lines) + "\nEND\n"


def _iptables_rules(tools: Tools, peers: Sequence[Peer], want: Wanted) -> str:
    run = _iptables(tools, peers)
    restore = run.replace("tables", "tables-restore", 1) + " -n"
    if "legacy" in run:
        restore = run.replace("tables-legacy", "tables-legacy-restore") + " -n"
    lines = ["*filter", f":{CHAIN} - [0:0]"]
    for peer in peers:
        verdict = "DROP" if peer.name in want.cuts else "RETURN"
        lines.append(f"-A {CHAIN} -s {peer.address} -j {verdict}")
    lines.append("COMMIT")
    jump = f"{run} -C INPUT -j {CHAIN} 2>/dev/null || {run} -I INPUT 1 -j {CHAIN}"
    return f"{restore} <<'END'\n" + "\n".join(lines) + f"\nEND\n{jump}\n"


def _remove_queues(device: str) -> str:
    # With the handle, so that only a root qdisc of ours can be hit.
    return f"tc qdisc del dev {shlex.quote(device)} root handle {ROOT}: 2>/dev/null || :"


def bands(peers: Sequence[Peer], want: Wanted) -> dict[tuple[str, int], list[Peer]]:
    """Which peers' packets go through which band of which device's queue; bands count from 4.

    Each peer has a band of its own, so that each link is counted; but peers with the same fault
    share one if the fault duplicates packets (the kernel allows one duplicating netem in a tree,
    and no other beside it) or if there are more than bands.

    Raises:
        UsageError: more different faults at a time than a prio qdisc has bands.
    """
    found: dict[tuple[str, int], list[Peer]] = {}
    for device in sorted({peer.device for peer in peers}):
        slow = [peer for peer in peers if peer.device == device and peer.name in want.slow]
        crowded = len(slow) > BANDS_FAULTY_MAX
        shared = crowded or any(want.slow[peer.name].duplicate for peer in slow)
        groups: list[list[Peer]] = []
        for peer in slow:
            same = [g for g in groups if want.slow[g[0].name] == want.slow[peer.name]]
            if shared and same:
                same[0].append(peer)
            else:
                groups.append([peer])
        if len(groups) > BANDS_FAULTY_MAX:
            raise UsageError(
                f"{len(groups)} different faults of links from one node at a time are too many: "
                f"a prio queue has room for {BANDS_FAULTY_MAX}"
            )
        found |= {(device, BANDS_PLAIN + 1 + i): group for i, group in enumerate(groups)}
    return found


def _tc(peers: Sequence[Peer], want: Wanted) -> str:
    lines = [_remove_queues(device) for device in sorted({peer.device for peer in peers})]
    grouped = bands(peers, want)
    for device in sorted({device for device, _ in grouped}):
        count = max(band for where, band in grouped if where == device)
        lines.append(
            f"tc qdisc add dev {device} root handle {ROOT}: prio bands {count} priomap {_PRIOMAP}"
        )
    for (device, band), group in grouped.items():
        words = " ".join(netem_words(want.slow[group[0].name]))
        at = f"{ROOT}:{band:x}"
        lines.append(f"tc qdisc add dev {device} parent {at} handle 5c{band:02x}: netem {words}")
        for peer in group:
            protocol, match = ("ipv6", "ip6") if peer.v6 else ("ip", "ip")
            whole = f"{peer.address}/{128 if peer.v6 else 32}"
            lines.append(
                f"tc filter add dev {device} parent {ROOT}: protocol {protocol} prio 1 "
                f"u32 match {match} dst {whole} flowid {at}"
            )
    return "\n".join(lines) + "\n"


def netem_words(fault: LinkFault) -> list[str]:
    """A fault as netem's arguments. Its jitter is to both sides of a delay, ours is added to it."""
    delay_ns = fault.delay_ns + fault.jitter_ns // 2
    if fault.reorder and not delay_ns:
        delay_ns = REORDER_GAP_NS
    words = ["limit", str(QUEUE_PACKETS)]
    if delay_ns:
        words += ["delay", f"{delay_ns // 1000}us"]
        if fault.jitter_ns:
            words.append(f"{fault.jitter_ns // 2000}us")
    for name in ("loss", "corrupt", "duplicate", "reorder"):
        chance = getattr(fault, name)
        if chance:
            words += [name, f"{chance * 100:.6g}%"]
    if fault.rate_bytes_per_s:
        words += ["rate", f"{fault.rate_bytes_per_s}bps"]
    return words


# Reading --------------------------------------------------------------------------------------

_KINDS = ("passed", "dropped")
_ADDRESS = re.compile(r"[0-9a-f.:]*[.:][0-9a-f.:]*(/\d+)?")
#: what the receiver's TCP says: file's section and field -> our counter
_TCP = {
    ("Tcp", "InCsumErrors"): "corrupted",
    ("Udp", "InCsumErrors"): "corrupted",
    ("TcpExt", "TCPOFOQueue"): "reordered",
    ("TcpExt", "TCPDSACKOldSent"): "duplicated",
    ("TcpExt", "TCPDSACKOfoSent"): "duplicated",
}


def read(text: str, peers: Sequence[Peer]) -> Reading:
    """What :func:`read_script` (or the beginning of :func:`apply_script`) printed."""
    reading = Reading()
    for section in text.split(_MARK)[1:]:
        title, _, body = section.strip(" ").partition("\n")
        words = title.split()
        match words[0]:
            case "filter" if body.lstrip().startswith("{"):
                _read_nft(json.loads(body), reading, peers)
            case "filter":
                _read_iptables(body, reading)
            case "queues":
                _read_queues(words[1], body, reading)
            case "tcp":
                _read_tcp(body, reading)
    return reading


def _read_nft(document: Any, reading: Reading, peers: Sequence[Peer]) -> None:
    addresses = {str(peer.number): peer.address for peer in peers}
    reading.installed = True
    for entry in document["nftables"]:
        counter = entry.get("counter")
        if counter is not None:
            kind, _, number = counter["name"].partition("_")
            if number in addresses:
                into = reading.dropped if kind == "dropped" else reading.passed
                into[addresses[number]] = counter["packets"]
        expressions = entry.get("rule", {}).get("expr", [])
        if any("drop" in expression for expression in expressions):
            reading.dropping |= {e["match"]["right"] for e in expressions if "match" in e}


def _read_iptables(body: str, reading: Reading) -> None:
    for line in body.splitlines():
        words = line.split()
        if line.startswith(f"Chain {CHAIN}"):
            reading.installed = True
        if len(words) < 8 or words[2] not in ("DROP", "RETURN"):
            continue
        # Older versions print an empty column for "all protocols" and for options.
        found = next((word for word in words[3:] if _ADDRESS.fullmatch(word)), "")
        address = found.partition("/")[0]
        into = reading.dropped if words[2] == "DROP" else reading.passed
        into[address] = int(words[0])
        if words[2] == "DROP":
            reading.dropping.add(address)


def _read_queues(device: str, body: str, reading: Reading) -> None:
    try:
        queues = json.loads(body)
    except ValueError:
        return
    for queue in queues:
        if queue.get("handle") == f"{ROOT}:" and queue.get("root"):
            reading.devices.add(device)
        major, _, minor = queue.get("parent", "").partition(":")
        if major == ROOT and queue.get("kind") == "netem":
            counts = (queue.get("packets", 0), queue.get("drops", 0))
            reading.queues[device, int(minor, 16)] = counts


def _read_tcp(body: str, reading: Reading) -> None:
    names: dict[str, list[str]] = {}
    for line in body.splitlines():
        section, _, rest = line.partition(":")
        if section not in names:
            names[section] = rest.split()
            continue
        for name, value in zip(names.pop(section), rest.split(), strict=False):
            ours = _TCP.get((section, name))
            if ours is not None:
                reading.tcp[ours] = reading.tcp.get(ours, 0) + int(value)

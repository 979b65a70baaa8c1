"""Scripts that make links faulty, as text; what they print, as numbers; and on a real kernel."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from arms import CUT, MS, NODES
from kernel_arms import netns_arm

from harness.environments.base import LinkFault
from harness.environments.network import netem
from harness.environments.network.netem import Peer, Tools, Wanted
from harness.errors import SetupError, UsageError

GOLDEN = Path(__file__).with_name("golden") / "netem.txt"
PEERS = [Peer(2, "n2", "10.0.0.2", "eth0"), Peer(3, "n3", "10.0.0.3", "eth0")]
SIX = [Peer(2, "n2", "fd00::2", "eth1")]
SLOW = LinkFault(delay_ns=100 * MS, jitter_ns=50 * MS, loss=0.05)
ALL = Tools("nft", True)


def cases() -> list[tuple[str, str]]:
    cut = Wanted(frozenset({"n2"}), {"n3": SLOW})
    doubled = LinkFault(duplicate=0.2)
    return [
        ("healthy, nft and netem", netem.apply_script(ALL, PEERS, Wanted())),
        ("n2 cut and slow to n3, nft and netem", netem.apply_script(ALL, PEERS, cut)),
        (
            "n2 cut, iptables alone",
            netem.apply_script(Tools("iptables", False), PEERS, Wanted(frozenset({"n2"}))),
        ),
        (
            "n2 cut, iptables-legacy, IPv6",
            netem.apply_script(Tools("iptables-legacy", False), SIX, Wanted(frozenset({"n2"}))),
        ),
        (
            "what arrives from n2 cut where there is no filter: the sender's part",
            netem.apply_script(
                Tools("netem", True),
                PEERS,
                netem.wanted({("n1", "n2"): CUT}, ["n1", "n2", "n3"], cut_by="netem")["n1"],
            ),
        ),
        (
            "duplicates to both share a queue",
            netem.apply_script(ALL, PEERS, Wanted(slow={"n2": doubled, "n3": doubled})),
        ),
        ("remove", netem.remove_script(["eth0"])),
        ("left", netem.left_script(["eth0"])),
        ("probe", netem.probe_script(own_namespace=True)),
    ]


def test_scripts_are_as_they_were_read_and_approved(golden: Any) -> None:
    golden(GOLDEN, "\n".join(f"## {title}\n{script}" for title, script in cases()))


def test_every_script_is_good_shell() -> None:
    for title, script in cases():
        done = subprocess.run(["sh", "-n"], input=script, capture_output=True, text=True)
        assert done.returncode == 0, (title, done.stderr)


def test_a_cut_is_made_at_the_target_and_slowness_at_the_source() -> None:
    made = netem.wanted({("n1", "n2"): CUT, ("n1", "n3"): SLOW, ("n2", "n3"): LinkFault()}, NODES)
    assert made["n1"] == Wanted(frozenset(), {"n3": SLOW})
    assert made["n2"] == Wanted(frozenset({"n1"}), {})
    assert made["n3"] == Wanted()


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (LinkFault(delay_ns=10 * MS), "delay 10000us"),
        (LinkFault(delay_ns=10 * MS, jitter_ns=4 * MS), "delay 12000us 2000us"),
        (LinkFault(loss=0.015), "loss 1.5%"),
        (LinkFault(reorder=0.25), "delay 10000us reorder 25%"),
        (LinkFault(corrupt=0.001, duplicate=1.0), "corrupt 0.1% duplicate 100%"),
        (LinkFault(rate_bytes_per_s=10_000), "rate 10000bps"),
    ],
)
def test_faults_as_netem_says_them(fault: LinkFault, words: str) -> None:
    assert " ".join(netem.netem_words(fault)) == f"limit 100000 {words}"


def test_what_cannot_be_done_is_said() -> None:
    none = Tools("nft", False, {"netem": "Error: Specified qdisc kind is unknown."})
    with pytest.raises(UsageError, match=r"no netem.*qdisc kind is unknown.*modprobe sch_netem"):
        netem.apply_script(none, PEERS, Wanted(slow={"n2": SLOW}))
    with pytest.raises(UsageError, match="neither nft nor iptables"):
        netem.apply_script(Tools("", False), PEERS, Wanted(frozenset({"n2"})))
    many = [Peer(i, f"n{i}", f"10.0.0.{i}", "eth0") for i in range(2, 20)]
    different = {peer.name: LinkFault(delay_ns=peer.number * MS) for peer in many}
    with pytest.raises(UsageError, match="too many"):
        netem.apply_script(ALL, many, Wanted(slow=different))
    same = netem.bands(many, Wanted(slow={peer.name: SLOW for peer in many}))
    assert list(same) == [("eth0", 4)] and len(same["eth0", 4]) == 18


def test_the_probe_is_read_and_explained() -> None:
    said = (
        "nft no sh: 1: nft: not found\niptables yes\niptables-legacy yes\nnetem no unknown kind\n"
    )
    tools = netem.read_probe(said)
    assert tools == Tools(
        "iptables", False, {"nft": "sh: 1: nft: not found", "netem": "unknown kind"}
    )
    assert netem.explain(tools) == (
        "cuts by iptables, no delay or loss (no netem) "
        "[missing: nftables: sh: 1: nft: not found; netem: unknown kind]"
    )
    assert netem.read_probe("netem yes\n").cut == "netem"
    assert netem.read_probe("").cut == ""


def test_what_iptables_and_tc_print_is_read() -> None:
    text = """=== splitbrain filter
Chain SPLITBRAIN (1 references)
    pkts      bytes target     prot opt in     out     source               destination
      12      624 DROP       0    --  *      *       10.0.0.2             0.0.0.0/0
     340    20400 RETURN     all  --  *      *       10.0.0.3             0.0.0.0/0
=== splitbrain queues eth0
[{"kind":"prio","handle":"5b1:","root":true,"packets":9,"drops":0},
 {"kind":"netem","handle":"5c04:","parent":"5b1:4","packets":7,"drops":2},
 {"kind":"netem","handle":"1:","parent":"2:4","packets":99,"drops":99}]
=== splitbrain tcp
Tcp: InSegs InCsumErrors
Tcp: 100 3
TcpExt: TCPOFOQueue TCPDSACKOldSent TCPDSACKOfoSent
TcpExt: 5 2 1
=== splitbrain end
"""
    reading = netem.read(text, PEERS)
    assert reading.installed
    assert reading.dropped == {"10.0.0.2": 12} and reading.passed == {"10.0.0.3": 340}
    assert reading.dropping == {"10.0.0.2"}
    assert reading.queues == {("eth0", 4): (7, 2)} and reading.devices == {"eth0"}
    assert reading.tcp == {"corrupted": 3, "reordered": 5, "duplicated": 3}
    assert not netem.read("", PEERS).installed


# -- on a real kernel ------------------------------------------------------------------------------


@pytest.mark.real
@pytest.mark.parametrize("tool", ["nft", "iptables", "iptables-legacy"])
def test_each_tool_cuts_counts_and_heals_and_leaves_what_is_not_ours(
    tool: str, tmp_path: Path
) -> None:
    from harness.environments.netns import probe

    if tool in probe().why:
        pytest.skip(f"{tool}: {probe().why[tool]}")
    arm = netns_arm(tmp_path / "run")
    theirs = {
        "nft": "nft add table inet theirs; nft add chain inet theirs c; "
        "nft add rule inet theirs c ip saddr 192.0.2.7 drop",
        "iptables": "iptables -A INPUT -s 192.0.2.7 -j DROP",
        "iptables-legacy": "iptables-legacy -A INPUT -s 192.0.2.7 -j DROP",
    }[tool]
    show = {"nft": "nft list table inet theirs", "iptables": "iptables -S"}
    show["iptables-legacy"] = "iptables-legacy -S"

    async def body() -> None:
        env, node = arm.env, arm.env.node("n2")
        await node.run("sh", "-c", theirs)
        before = (await node.run("sh", "-c", show[tool])).stdout
        await env.parts.network.links.remove()
        for name in NODES:
            env.parts.network.links._tools[name] = Tools(tool, False)
        await env.parts.network.links.heal()
        await arm.traffic()
        await env.set_links({("n1", "n2"): CUT})
        await arm.traffic()
        one = await env.link_counters()
        assert one["n1", "n2"]["dropped"] > 0 and one["n3", "n2"]["dropped"] == 0
        assert await env.prove_clean() == ["n2 drops what comes from n1"]
        await env.set_links({("n3", "n2"): CUT})
        for _ in range(40):  # a connection that was cut tries again ever less often
            await arm.traffic()
            two = await env.link_counters()
            if two["n1", "n2"]["passed"] > one["n1", "n2"]["passed"]:
                break
        assert two["n1", "n2"]["dropped"] >= one["n1", "n2"]["dropped"], "counts are never lost"
        assert two["n1", "n2"]["passed"] > one["n1", "n2"]["passed"]
        assert two["n3", "n2"]["dropped"] > 0
        await env.heal_all()
        assert await env.prove_clean() == []
        assert await env.parts.network.links.left() != []
        await env.parts.network.links.remove()
        await env.parts.network.links.remove()
        assert await env.parts.network.links.left() == []
        assert (await node.run("sh", "-c", show[tool])).stdout == before
        await env.parts.network.links.heal()

    async def main() -> None:
        try:
            await arm.start()
            await body()
        finally:
            await arm.env.teardown()

    asyncio.run(main())


@pytest.mark.real
def test_nothing_outside_is_reached_from_a_namespace(tmp_path: Path) -> None:
    arm = netns_arm(tmp_path / "run")

    async def main() -> None:
        await arm.env.setup()
        try:
            node = arm.env.node("n1")
            routes = (await node.run("ip", "route")).stdout.splitlines()
            assert len(routes) == 1 and "default" not in routes[0]
            dial = "import socket; socket.create_connection(('192.0.2.1', 80), 1)"
            done = await node.run(sys.executable, "-S", "-c", dial, check=False)
            assert "unreachable" in done.stderr
        finally:
            await arm.env.teardown()

    asyncio.run(main())


@pytest.mark.real
def test_a_node_that_cannot_filter_says_what_to_install(tmp_path: Path) -> None:
    arm = netns_arm(tmp_path / "run")

    async def main() -> None:
        await arm.env.setup()
        try:
            links = arm.env.parts.network.links

            async def nothing(node: str, script: str) -> str:
                return (
                    "nft no sh: nft: not found\niptables no sh: iptables: not found\nnetem no x\n"
                )

            links._run = nothing
            with pytest.raises(SetupError, match="apt install nftables"):
                await links.setup()
        finally:
            arm.env.parts.network.links._run = arm.env.parts.site.as_root
            await arm.env.teardown()

    asyncio.run(main())


def test_a_machine_without_namespaces_is_explained() -> None:
    """Where root may make none, as in most containers, that is what doctor says."""
    tools = netem.Tools("", False, {"namespaces": "unshare: Operation not permitted"})
    said = netem.explain(tools)
    assert said.startswith("no cuts, no delay or loss") and "namespaces: unshare: Op" in said

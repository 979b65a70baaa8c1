"""What only hosts promise: verified keys, quoting, reconnecting, healing by a new login."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from arms import CUT, NODES, within
from kernel_arms import ssh_arm

from harness.environments import marks, record
from harness.environments.machines import ssh_config
from harness.environments.machines.ssh_login import Host, Login, parse_host
from harness.environments.record import Consent
from harness.environments.ssh import ssh
from harness.errors import SetupError, UsageError
from harness.heal import heal_run
from harness.spec import TestSpec, parse_nodes, validated


@pytest.fixture
def arm(tmp_path: Path) -> Any:
    made = ssh_arm(tmp_path / "run")
    yield made
    made.close()


def test_hosts_are_parsed_or_refused() -> None:
    assert parse_host("admin@db1:2222") == Host("admin", "db1", 2222)
    assert parse_host("admin@[fd00::1]:22") == Host("admin", "fd00::1", 22)
    assert parse_host("10.0.0.1") == Host("", "10.0.0.1", 0)
    for wrong in ("a@b@c", "db:port", "db:99999", "", "a b", "fd00::1", "-oProxyCommand=x", "-l@h"):
        with pytest.raises(UsageError, match="not user@host:port"):
            parse_host(wrong)


def test_nodes_given_as_hosts_get_names() -> None:
    nodes = parse_nodes("admin@db1:2222,admin@db2")
    spec = validated(TestSpec(env="ssh", nodes=nodes))
    assert spec.nodes == ("n1", "n2")
    assert spec.env_options == {"hosts": "admin@db1:2222,admin@db2"}
    with pytest.raises(UsageError, match="no name for a node"):
        validated(TestSpec(env="local", nodes=nodes))
    with pytest.raises(UsageError, match="hosts is given too"):
        validated(TestSpec(env="ssh", nodes=nodes, env_options={"hosts": "x"}))


def test_wrong_options_get_a_sentence(tmp_path: Path) -> None:
    def made(**options: Any) -> None:
        ssh(nodes=NODES, run_dir=tmp_path, seed=1, options=options)

    with pytest.raises(UsageError, match="hosts names 1 hosts, and the run has 3 nodes"):
        made(hosts="a@b")
    with pytest.raises(UsageError, match="addresses names 1"):
        made(addresses="10.0.0.1")
    with pytest.raises(UsageError, match="did you mean 'known_hosts'"):
        made(known_host="x")
    with pytest.raises(UsageError, match="absolute path"):
        made(dir="here")


CONFIG = """\
Host db-a db-b db-c
  User deploy
  Port 2207
  ProxyJump me@gate.example.net:2222
  StrictHostKeyChecking no
Host db-a
  HostName 10.20.0.11
Host db-*
  IdentityFile {key}
  UserKnownHostsFile {known}
  IdentitiesOnly yes
Host odd
  ProxyCommand nc -x proxy %h %p as %r 100%%
  HostKeyAlias db
"""


@pytest.mark.parametrize("reader", ["ssh", "paramiko"])
def test_names_lead_where_ssh_leads_them(
    reader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reader == "paramiko":
        monkeypatch.setattr(ssh_config.shutil, "which", lambda name: None)
    elif not shutil.which("ssh"):
        pytest.skip("there is no ssh here")
    (tmp_path / "key").write_text("")
    (tmp_path / "known").write_text("")
    config = tmp_path / "config"
    config.write_text(CONFIG.format(key=tmp_path / "key", known=tmp_path / "known"))
    found = parse_host("db-a", config=str(config)).route()
    assert (found.user, found.hostname, found.port) == ("deploy", "10.20.0.11", 2207)
    assert found.jumps == ("me@gate.example.net:2222",)
    assert str(tmp_path / "key") in found.keys and found.only_keys
    assert str(tmp_path / "known") in found.known_hosts
    said = parse_host("root@db-b:22", config=str(config)).route()
    assert (said.user, said.hostname, said.port) == ("root", "db-b", 22)
    odd = parse_host("joe@odd:7", config=str(config)).route()
    assert odd.command == "nc -x proxy odd 7 as joe 100%"
    assert odd.key_name == "db"
    plain = parse_host("10.0.0.1", config=str(config), key="/k", known_hosts="/h").route()
    assert (plain.hostname, plain.port, plain.jumps) == ("10.0.0.1", 22, ())
    assert (plain.keys, plain.known_hosts) == (("/k",), ("/h",))


def test_a_configuration_that_cannot_be_read_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="config"):
        parse_host("a", config=str(tmp_path / "none")).route()
    (tmp_path / "bad").write_text("Port many\n")
    with pytest.raises(SetupError, match="ssh cannot read"):
        parse_host("a", config=str(tmp_path / "bad")).route()


@pytest.mark.real
def test_aliases_and_jump_hosts_are_followed_and_keys_verified_on_the_way(
    arm: Any, tmp_path: Path
) -> None:
    options = arm.env.parts.site.options
    one, two, three = (text.partition("@")[2].partition(":")[0] for text in options["hosts"])
    config = tmp_path / "config"
    config.write_text(
        f"Host gate\n  HostName {one}\nHost far\n  HostName {two}\n  ProxyJump gate\n"
        f"Host farther\n  HostName {three}\n  ProxyJump gate,far\n"
        f"Host *\n  User root\n  IdentityFile {options['key']}\n"
        f"  UserKnownHostsFile {options['known_hosts']}\n  GlobalKnownHostsFile none\n"
    )
    for name, by in (("gate", 0), ("far", 1), ("farther", 2)):
        login = Login(parse_host(name, config=str(config)))
        assert len(login.route.jumps) == by
        code, out, _ = login.script("echo $SSH_CONNECTION")
        assert code == 0
        came_from, arrived_at = out.split()[0], out.split()[2]
        assert arrived_at == {"gate": one, "far": two, "farther": three}[name]
        assert by == 0 or came_from == {"far": one, "farther": two}[name]
        login.close()
    known = Path(options["known_hosts"]).read_text().splitlines()
    (tmp_path / "known").write_text("\n".join(line for line in known if one not in line) + "\n")
    other = config.read_text().replace(str(options["known_hosts"]), str(tmp_path / "known"))
    config.write_text(other)
    with pytest.raises(SetupError, match=r"host key of gate .* is not in"):
        Login(parse_host("far", config=str(config))).script(":")


@pytest.mark.real
def test_unknown_and_changed_host_keys_and_unknown_users_are_refused(
    arm: Any, tmp_path: Path
) -> None:
    options = dict(arm.env.parts.site.options)

    def why(**changed: Any) -> str:
        env = ssh(nodes=NODES, run_dir=tmp_path / "other", seed=1, options={**options, **changed})

        async def main() -> None:
            with pytest.raises(SetupError) as raised:
                await env.setup()
            nonlocal said
            said = str(raised.value)

        said = ""
        asyncio.run(main())
        assert record.load(tmp_path / "other").state == "clean"  # type: ignore[union-attr]
        return said

    known = Path(options["known_hosts"]).read_text()
    nobody, changed = tmp_path / "nobody", tmp_path / "changed"
    nobody.write_text("")
    rows = [line.split() for line in known.splitlines()]
    # Every host with its neighbour's key.
    keys = [row[2] for row in rows]
    keys = [*keys[1:], keys[0]]
    changed.write_text("".join(f"{row[0]} {row[1]} {key}\n" for row, key in zip(rows, keys)))
    assert "ssh-keyscan -p 22" in why(known_hosts=str(nobody))
    assert "is not the one in" in why(known_hosts=str(changed))
    hosts = [host.replace("root@", "nobody-at-all@") for host in options["hosts"]]
    assert "authorized_keys" in why(hosts=hosts)


@pytest.mark.real
def test_words_are_quoted_files_come_home_and_a_broken_connection_is_made_again(arm: Any) -> None:
    async def body(env: Any) -> None:
        one = env.node("n1")
        words = ["it's $HOME; `x`", "a\nb", '"', "*"]
        done = await one.run("printf", "%s|", *words)
        assert done.stdout == "".join(f"{word}|" for word in words)
        done = await one.run("sh", "-c", 'echo "$ODD"', env={"ODD": "$(id) 'x'"})
        assert done.stdout == "$(id) 'x'\n"
        with pytest.raises(SetupError, match=r"'sleep' on .* did not end within 0\.3 s"):
            await one.run("sleep", "60", timeout_s=0.3)
        with pytest.raises(SetupError, match="is it installed"):
            await one.run("no-such-program")
        await one.run("sh", "-c", 'echo kept >"$1"', "sh", "/data/a b")
        assert await one.collect(["/data/a*"]) == ["a b"]
        assert (one.machine.directory / "a b").read_text() == "kept\n"
        await env.pause("n2")
        for machine in env.parts.site.machines.values():
            machine.login.close()
        assert await env.alive("n2")
        assert (await env.resume("n2"))["state"] != "T"
        assert await env.alive("n1")
        one.machine.login._client.get_transport().sock.close()
        await asyncio.sleep(0.5)
        await env.kill("n1")
        assert not await env.alive("n1")

    within(arm, body)
    assert "listening" in (arm.env.node("n1").machine.directory / "log").read_text()


@pytest.mark.real
def test_heal_logs_in_again_and_cleans_every_host(arm: Any) -> None:
    async def main() -> None:
        await arm.start()
        await arm.env.set_links({("n1", "n2"): CUT})
        await arm.env.pause("n3")
        # As if the harness were gone: its watchdog, and then its record, are taken from it.
        await arm.env.journal.dismiss_watchdog()

    arm.run(main())
    env = arm.env
    path = env.run_dir / record.NAME
    found = json.loads(path.read_text())
    found["harness"] = None
    path.write_text(json.dumps(found))

    unasked = heal_run(env.run_dir)
    assert not unasked.clean and not unasked.removed
    hosts = env.parts.site.options["hosts"]
    files = {name: str(env.parts.site.options[name]) for name in ("known_hosts", "key")}
    for number, said in enumerate(unasked.refused):
        assert f"n{number + 1}: its host '{hosts[number]}' was not contacted" in said
        assert files["known_hosts"] in said and files["key"] in said and "--trust-hosts" in said
    # A host is another one when its keys are checked against another file.
    elsewhere = Consent(hosts=tuple(hosts), key=files["key"])
    assert len(heal_run(env.run_dir, consent=elsewhere).refused) == 3

    other = json.loads(path.read_text())
    path.write_text(json.dumps({**other, "boot": "another", "processes": []}))
    yes = Consent(hosts=tuple(hosts), **files)
    (refused,) = heal_run(env.run_dir, consent=yes).refused
    assert "restarted since" in refused and "--other-boot" in refused

    allowed = msgspec.structs.replace(yes, other_boot=True)
    gone = " ".join(heal_run(env.run_dir, consent=allowed).removed)
    assert "nftables table inet splitbrain on n2" in gone and "on n3" in gone
    assert "listening" in (env.run_dir / "nodes" / "n1" / "log").read_text()
    path.write_text(json.dumps(found))
    assert "nothing to do" in heal_run(env.run_dir, consent=yes).sentence
    assert not [p for p in os.listdir(env.parts.site.options["dir"]) if p.startswith("splitbrain-")]


@pytest.mark.real
def test_heal_touches_no_place_on_a_host_that_is_not_the_runs(arm: Any) -> None:
    """Every word of a place is forged; the hosts are allowed, and hold one run that goes on."""

    async def body(env: Any) -> None:
        await env.set_links({("n1", "n2"): CUT})
        await asyncio.to_thread(_forge_and_heal, env)
        listed = env.node("n2").machine.login.root("nft list table inet splitbrain")
        assert "drop" in listed and os.path.isdir(env.node("n2").machine.home)
        assert await env.alive("n2")

    within(arm, body)


def _forge_and_heal(env: Any) -> None:
    real = json.loads((env.run_dir / record.NAME).read_text())
    place = real["nodes"]["n2"]
    forged_dir = env.run_dir.with_name("forged")
    forged_dir.mkdir()
    mark = marks.new(forged_dir)
    home = f"{env.parts.site.options['dir']}/splitbrain-{marks.digest(mark)}-n2"
    mine = {**place, "place": f"{mark}/n2", "home": home}
    canary = env.run_dir.with_name("canary")
    shell = f"x' ; touch {canary} ; echo '"
    attacks = [
        place,
        {**mine, "home": place["home"]},
        {**mine, "place": place["place"]},
        {**mine, "home": f"/tmp/../{os.path.basename(home)}"},
        {**mine, "home": f"{shell}/{os.path.basename(home)}"},
        {**mine, "devices": [shell]},
        {**mine, "devices": "eth0"},
        {**mine, "host": {"user": "root", "name": shell, "port": "x"}},
        {**mine, "host": None},
    ]
    for attack in attacks:
        forged = {**real, "run_id": mark, "harness": None, "processes": []}
        forged["nodes"] = {"n2": attack}
        (forged_dir / record.NAME).write_text(json.dumps(forged))
        healing = heal_run(forged_dir, consent=Consent(trust_hosts=True))
        assert healing.removed == [] and len(healing.refused) == 1, attack
    # Places that could be the run's, on a host where they are not: nothing is there to remove.
    for attack in (mine, {**mine, "home": f"/tmp/{shell}/{os.path.basename(home)}"}):
        forged["nodes"] = {"n2": attack}
        (forged_dir / record.NAME).write_text(json.dumps(forged))
        healing = heal_run(forged_dir, consent=Consent(trust_hosts=True))
        assert healing.clean and not healing.removed, healing
    assert not canary.exists()

"""Quorum queues of RabbitMQ under partitions, kills and pauses.

A quorum queue is replicated by Raft: an enqueue is confirmed once a majority has it on disk, so no
confirmed message may be lost. The workload ``queue`` enqueues unique values, dequeues some, and in
the end drains every queue: what was confirmed and never came out is lost.

Needs `apt-get install rabbitmq-server` and `pip install aio-pika`. From this directory:

    harness test --db test_rabbitmq:RabbitMQ --client test_rabbitmq:QueueClient --workload queue \\
        --nemesis partition,kill,pause --time-limit 2m --seed 11 --env netns

On two busy cores it was VALID: 5157 operations, 79% of them ok, under 10 faults; with `--env local`
VALID too, 5616 operations and 78%. A killed broker needs many seconds to be back, so the
faults are far apart: see ``timings``.

A broker announces one name to everybody, which holds the address at which it is dialled.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import ClassVar

AMQP = 5672
PROGRAMS = "/usr/lib/rabbitmq/bin"
SETTINGS = """\
listeners.tcp.1 = {address}:5672
loopback_users = none
log.console = true
log.console.level = warning
cluster_partition_handling = ignore
cluster_formation.peer_discovery_backend = classic_config
cluster_formation.discovery_retry_limit = 5
cluster_formation.discovery_retry_interval = 1000
{nodes}
"""
WRITE = "import sys; open(sys.argv[1], 'w').write(sys.argv[2])"


class RabbitMQ:
    """Three brokers in one cluster."""

    logs = ("/data/log/*",)
    timings: ClassVar = {"nemesis_interval_s": 40, "fault_duration_s": "5s..10s", "recovery_s": 60}

    async def setup(self, node):
        peers = [f"{SETTING}{i} = {name_of(node, peer)}" for i, peer in enumerate(node.nodes, 1)]
        text = SETTINGS.format(address=node.address, nodes="\n".join(peers))
        await node.run("mkdir", "-p", "/data")
        await node.run("python3", "-c", WRITE, "/data/rabbitmq.conf", text)
        await node.run("python3", "-c", WRITE, "/data/enabled_plugins", "[].\n")

    async def start(self, node):
        ports = (AMQP, port_of(node, node.name))
        await node.spawn(f"{PROGRAMS}/rabbitmq-server", env=self.variables(node), ports=ports)

    async def ready(self, node):
        while not await answers(node.address, AMQP):
            await asyncio.sleep(0.2)
        words = ("await_online_nodes", str(len(node.nodes)), "--timeout", "90")
        await node.run(f"{PROGRAMS}/rabbitmqctl", *words, env=self.variables(node), timeout_s=100)

    async def teardown(self, node):
        await node.wipe("/data")

    def variables(self, node):
        listen = node.address.replace(".", ",")
        return {
            "HOME": "/data",
            "RABBITMQ_NODENAME": name_of(node, node.name),
            "RABBITMQ_USE_LONGNAME": "true",
            "RABBITMQ_CONFIG_FILE": "/data/rabbitmq",
            "RABBITMQ_ENABLED_PLUGINS_FILE": "/data/enabled_plugins",
            "RABBITMQ_MNESIA_BASE": "/data/mnesia",
            "RABBITMQ_LOG_BASE": "/data/log",
            "RABBITMQ_DIST_PORT": str(port_of(node, node.name)),
            "RABBITMQ_CTL_ERL_ARGS": "-setcookie splitbrain",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-setcookie splitbrain -kernel net_ticktime 8 "
            f"inet_dist_use_interface {{{listen}}}",
        }


async def answers(host, port):
    """Whether somebody accepts connections there."""
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True


SETTING = "cluster_formation.classic_config.nodes."


def port_of(node, peer):
    """The port on which a broker speaks to others. Brokers of one machine share its epmd, which
    takes equal ports for a conflict."""
    return 25672 + list(node.nodes).index(peer)


def name_of(node, peer):
    """A broker's name, at the address where everybody dials it; unique on this machine."""
    address = node.announced_by(peer, port_of(node, peer)).partition(":")[0]
    return f"rabbit-{address.replace('.', '-')}@{address}"


class QueueClient:
    """Speaks to one broker; each key is a quorum queue."""

    operations = frozenset({"enqueue", "dequeue", "drain"})

    async def open(self, node):
        import aio_pika

        await self.close()
        self.queues = {}
        url = f"amqp://guest:guest@{node.address}:{AMQP}/?heartbeat=5"
        self.connection = await aio_pika.connect(url, timeout=3)
        self.channel = await self.connection.channel(publisher_confirms=True)

    async def invoke(self, op):
        try:
            async with asyncio.timeout(2):
                queue = await self.queue(f"q{op.key}")
        except Exception as error:  # nothing that counts was sent
            return op.fail(f"{type(error).__name__} {error}")
        match op.f:
            case "enqueue":
                return await self.enqueue(op, queue)
            case "dequeue":
                message = await queue.get(fail=False, timeout=3)
                if message is None:
                    return op.fail("empty")
                await message.ack()
                return op.ok(json.loads(message.body))
            case "drain":
                found = []
                while (message := await queue.get(fail=False, timeout=3)) is not None:
                    await message.ack()
                    found.append(json.loads(message.body))
                return op.ok(found)

    async def queue(self, name):
        if name not in self.queues:
            arguments = {"x-queue-type": "quorum"}
            self.queues[name] = await self.channel.declare_queue(
                name, durable=True, arguments=arguments
            )
        return self.queues[name]

    async def enqueue(self, op, queue):
        import aio_pika

        body = json.dumps(op.value).encode()
        message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await self.channel.default_exchange.publish(message, queue.name, timeout=3)
        return op.ok()

    async def close(self):
        connection, self.connection = getattr(self, "connection", None), None
        if connection is not None:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(connection.close(), 1)

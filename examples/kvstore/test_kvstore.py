"""The whole of testing kvstore: how a node runs, how to speak to it, what to do, what to expect.

    pytest test_kvstore.py
    harness test --db test_kvstore:KVStore --client test_kvstore:KVClient \
        --workload test_kvstore:tickets --nemesis partition
"""

from pathlib import Path

from checkers import History, Verdict, checker, linearizable, models
from harness import fault
from workloads import Workload
from workloads import generator as gen

SOURCE = (Path(__file__).parent / "kvstore.py").read_text()
WRITE_FILE = "import sys; open(sys.argv[1], 'w').write(sys.argv[2])"
#: starts a process that keeps a processor busy until the file is gone
BURN = """
import subprocess, sys
loop = "import os, sys\\nwhile os.path.exists(sys.argv[1]): sum(range(10**5))"
open(sys.argv[1], "w").close()
quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
subprocess.Popen([sys.executable, "-c", loop, sys.argv[1]], **quiet)
"""


class KVStore:
    """How to run one node."""

    logs = ("/data/*.log",)

    def __init__(self, *, reads="majority"):
        self.reads = reads

    async def setup(self, node):
        await node.run("python3", "-c", WRITE_FILE, "/data/kvstore.py", SOURCE)

    async def start(self, node):
        argv = ["--listen", node.address, "--data", "/data/kv.log", "--reads", self.reads]
        await node.spawn("python3", "/data/kvstore.py", *argv, *node.peers, ports=[8080])

    async def ready(self, node):
        await node.http_ok(8080, "/health", within_s=30)

    async def teardown(self, node):
        await node.wipe("/data")


class KVClient:
    """How to speak to it."""

    async def open(self, node):
        self.http = await node.http(8080, timeout_s=2)

    async def invoke(self, op):
        match op.f, op.value:
            case "read", None:
                return op.ok(await self.http.get(f"/kv/{op.key}"))
            case "write", value:
                await self.http.put(f"/kv/{op.key}", value)
                return op.ok()

    async def close(self):
        await self.http.close()


@fault("busy", targets="minority")
async def busy(node):
    """A fault of one's own: inject, yield, heal. A neighbour takes the node's processor."""
    await node.run("python3", "-c", BURN, "/data/burning")
    yield
    await node.run("rm", "-f", "/data/burning")


@checker
def no_time_travel(history: History) -> Verdict:
    """No read returns a value before the write of it was invoked."""
    written = {(op.key, op.input): op.invoke for op in history.ops() if op.f == "write"}
    reads = [op for op in history.ops() if op.f == "read" and op.type == "ok"]
    early = [op for op in reads if op.output and written[op.key, op.output] > op.complete]
    return Verdict.INVALID if early else Verdict.VALID


def tickets(*, keys=3, rate_hz=60):
    """Reads and writes of a few registers, then everybody reads everything."""
    return Workload(
        generator=gen.mix(gen.reads(keys), gen.writes(keys)).rate(rate_hz),
        final=gen.each_process(gen.reads(keys)),
        checker=linearizable(models.register()) & no_time_travel,
    )


def test_majorities_survive_partitions(harness):
    harness.run(
        db=KVStore(), client=KVClient(), workload=tickets(), nemesis="partition,kill,busy",
        time_limit_s=15, nemesis_interval_s=3,
    ).assert_valid()  # fmt: skip


def test_local_reads_are_caught(harness):
    outcome = harness.run(
        db=KVStore(reads="local"), client=KVClient(), workload=tickets(), nemesis="partition",
        time_limit_s=15, nemesis_interval_s=3,
    )  # fmt: skip
    assert outcome.verdict is Verdict.INVALID

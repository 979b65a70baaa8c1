"""Changes of partitions as faults: one without an answer may come while the fault lasts."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from fake_environment import Memory, context

from harness.databases.reference_partitions import ReferencePartitions
from harness.errors import SetupError
from harness.nemesis import compose
from harness.nemesis.base import Plan


class Map:
    """A database whose move of a partition is not answered, and done later or never."""

    def __init__(self, *, comes: bool) -> None:
        self.rows = [{"id": "p0", "low": "", "group": "g-n1", "state": "owned"}]
        self.comes, self.wanted = comes, ""

    async def partitions(self, nodes: Any) -> list[dict[str, Any]]:
        return self.rows

    async def change_partition(self, node: Any, op: str, key: str, *to: str) -> str:
        self.wanted = to[0]
        raise SetupError(f"{op} {key}: unknown: timed out")

    def later(self) -> None:
        if self.comes:
            self.rows[0]["group"] = self.wanted


def evidence_of(db: Map) -> tuple[dict[str, Any], dict[str, Any]]:
    """The evidence of a move, as it begins and as it ends."""

    async def main() -> tuple[dict[str, Any], dict[str, Any]]:
        (made,) = compose("partition-move")
        ctx = context(Memory(), db)
        plan = Plan(1, "partition-move", 0, 1, "", {"seed": 1})
        done = await made.inject(ctx, plan)
        assert done.outcome == "installed" and done.value["key"] == "p0"
        db.later()
        return dict(done.evidence), await made.heal(ctx, plan, done)

    return asyncio.run(main())


def test_a_move_without_an_answer_that_comes_later_has_bitten() -> None:
    before, after = evidence_of(Map(comes=True))
    assert before["bit"] is False and "timed out" in before["why"]
    assert after == {"bit": True, "done": "later"}


def test_a_move_that_never_comes_has_not_and_says_why() -> None:
    _, after = evidence_of(Map(comes=False))
    assert after["bit"] is False and "timed out" in after["why"]


class TwoNodes(ReferencePartitions):
    """A cluster of which n1 is down: a request to it takes until it times out."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def status(self, node: Any) -> dict[str, Any] | None:
        return None if node.name == "n1" else {"role": "follower"}

    async def _asked(self, node: Any, op: str, key: str, *args: str) -> Any:
        self.asked.append(node.name)
        return SimpleNamespace(status="ok", value={"partitions": [{"id": "p0"}]})


def test_a_node_that_is_down_is_not_asked_for_the_map() -> None:
    db = TwoNodes()
    nodes: list[Any] = [SimpleNamespace(name=name) for name in ("n1", "n2")]
    assert asyncio.run(db.partitions(nodes)) == [{"id": "p0"}]
    assert db.asked == ["n2"], "other faults wait while a request times out"

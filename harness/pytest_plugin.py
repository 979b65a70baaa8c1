"""The pytest plugin: a fixture ``harness`` that runs tests against real faults.

    def test_survives_partitions(harness):
        harness.run(db=MyKV(), client=KVClient(), workload=tickets(),
                    nemesis="partition").assert_valid()

A failure shows the verdict's sentence, the report's path and the command that runs the very same
seed again. Runs are stored below ``--harness-store`` (``store`` by default), one directory per
test; ``--harness-seed`` fixes the seed.

pytest finds this module by its entry point; it imports nothing of the harness before the fixture is
used.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Unpack

import pytest

if TYPE_CHECKING:
    from harness.api import Arguments
    from harness.runner import RunOutcome


def pytest_addoption(parser: pytest.Parser) -> None:
    """Flags of the fixture."""
    group = parser.getgroup("harness", "verification harness")
    group.addoption(
        "--harness-seed", type=int, default=None, help="Seed of every run of the harness fixture."
    )
    group.addoption(
        "--harness-store", default="store", help="Where runs of the harness fixture are stored."
    )


class HarnessFixture:
    """Runs tests on behalf of one test function.

    Args:
        node_id: pytest's id of the test.
        name: name of the test, for its directory.
        seed: seed of every run, or None to draw.
        store: the store.
    """

    def __init__(self, node_id: str, name: str, seed: int | None, store: str) -> None:
        self._node_id, self._name, self._seed, self._store = node_id, name, seed, store
        self.outcomes: list[RunOutcome] = []

    def run(self, **arguments: Unpack[Arguments]) -> RunOutcome:
        """Run one test; see :func:`harness.run` for the arguments."""
        import random

        from harness.api import run

        given = arguments
        seed = given.get("seed")
        if seed is None:
            seed = self._seed
        if seed is None:
            seed = random.SystemRandom().randrange(2**31)
        given.setdefault("store", self._store)
        given.setdefault("name", self._name)
        replay = f"pytest {shlex.quote(self._node_id)} --harness-seed {seed}"
        given["seed"] = seed
        outcome = run(replay=replay, **given)
        self.outcomes.append(outcome)
        return outcome


@pytest.fixture
def harness(request: pytest.FixtureRequest) -> HarnessFixture:
    """Runs workloads under faults: ``harness.run(...).assert_valid()``."""
    config = request.config
    return HarnessFixture(
        request.node.nodeid,
        request.node.name,
        config.getoption("--harness-seed"),
        config.getoption("--harness-store"),
    )

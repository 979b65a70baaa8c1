"""A user's own fault: an async generator function which injects, yields, and heals.

    @fault("slow-disk", targets="minority")
    async def slow_disk(node):
        await node.run("tc-disk", "--delay", "200ms")
        yield
        await node.run("tc-disk", "--clear")

One generator runs per target node. The value it yields is its evidence. None or True means that the
fault bit, since a failed command would have raised. False or ``{"bit": False}`` means that it did
not. Any other mapping is kept as evidence. After the yield it
must end.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any, TypeAlias

from harness.errors import Named, UsageError, UserCodeError
from harness.nemesis.base import Context, Injection, Plan
from harness.nemesis.common import Planner, dice, no_target

Generator: TypeAlias = Callable[[Any], AsyncGenerator[Any, None]]

#: faults declared with :func:`fault`, by name
REGISTERED: dict[str, UserFault] = {}


class UserFault(Planner):
    """A nemesis made of a user's generator function. Made by :func:`fault`."""

    def __init__(self, name: str, function: Generator, targets: str, needs: frozenset[str]) -> None:
        super().__init__(name, variants=(name,), words=(targets,))
        self.needs = needs
        self.__doc__ = function.__doc__
        self._function = function
        self._open: dict[int, dict[str, AsyncGenerator[Any, None]]] = {}

    def __call__(self, node: Any) -> AsyncGenerator[Any, None]:
        """The user's function itself, so that it can still be called."""
        return self._function(node)

    async def inject(self, context: Context, plan: Plan) -> Injection:
        """Run the function to its yield on every target.

        Raises:
            UserCodeError: it ended without a yield.
        """
        hit = await self.targets_of(context, plan, dice(context, plan))
        if not hit:
            return no_target(plan)
        running = self._open[plan.id] = {}
        proofs = {}
        for name in hit:
            generator = running[name] = self._function(context.env.node(name))
            try:
                proofs[name] = await anext(generator)
            except StopAsyncIteration:
                del running[name]
                raise UserCodeError(f"the fault {self.name!r} ended without a yield") from None
        bit = any(_vouched(proof) for proof in proofs.values())
        reported = {name: proof for name, proof in proofs.items() if isinstance(proof, Mapping)}
        return Injection(
            hit, hit, evidence={"bit": bit, **({"told": reported} if reported else {})}
        )

    async def heal(self, context: Context, plan: Plan, injection: Injection) -> dict[str, Any]:
        """Run the function on, to its end, on every target.

        Raises:
            UserCodeError: it raised or yielded again somewhere; it was run to its end elsewhere.
        """
        failed: dict[str, BaseException] = {}
        for name, generator in self._open.pop(plan.id, {}).items():
            try:
                await anext(generator)
                await generator.aclose()
                failed[name] = UserCodeError("it yielded a second time")
            except StopAsyncIteration:
                continue
            except Exception as error:  # user code: named below, for each node
                failed[name] = error
        if failed:
            words = "; ".join(f"on {name}: {error}" for name, error in failed.items())
            cause = next(iter(failed.values()))
            raise UserCodeError(f"the fault {self.name!r} did not heal: {words}") from cause
        return injection.evidence


def _vouched(proof: Any) -> bool:
    if isinstance(proof, Mapping):
        return bool(proof.get("bit", True))
    return proof is None or bool(proof)


def fault(
    name: str, *, targets: str = "one", needs: frozenset[str] = frozenset()
) -> Callable[[Generator], UserFault]:
    """Declare an async generator function of a node as a fault.

    Args:
        name: its name on the command line.
        targets: a target word or node names.
        needs: abilities of the environment it uses, beside running commands.
    """
    if not isinstance(name, str) or not name or "," in name or ":" in name:
        raise UsageError(f"a fault's name must be a word without commas and colons, not {name!r}")

    def adapt(function: Generator) -> UserFault:
        if not inspect.isasyncgenfunction(function):
            given = function.__name__ if isinstance(function, Named) else function
            raise UsageError(
                f"@fault({name!r}) is on {given!r}, which is no "
                "async generator function: it must be `async def` and contain a `yield`"
            )
        adapted = UserFault(name, function, targets, needs)
        REGISTERED[name] = adapted
        return adapted

    return adapt

"""The safety rules of one consensus variant, watched beside those that every variant keeps.

:mod:`cluster.simulation.invariants` has the rules of any replicated log. The further promises of a
variant stand in a module of its own, listed here by the variant's name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

from cluster.ports import Append, Core, Recovered, Send
from cluster.simulation.multi_paxos_invariants import MultiPaxosInvariants
from cluster.simulation.viewstamped_invariants import ViewstampedInvariants
from cluster.simulation.zab_invariants import ZabInvariants

#: Called with (invariant, sentence, nodes) when a rule is broken; raises or records.
Fail: TypeAlias = Callable[[str, str, tuple[str, ...]], None]


class VariantInvariants(Protocol):
    """Rules of a variant; each method is called after those of every variant were checked."""

    def started(self, node: str, recovered: Recovered) -> None:
        """``node`` starts from what its storage found."""

    def appending(self, node: str, effect: Append) -> None:
        """The core of ``node`` asked for this write."""

    def sending(self, node: str, effect: Send) -> None:
        """A message leaves ``node`` now."""

    def after(self, node: str, core: Core) -> None:
        """An event on ``node`` is done."""


#: By name of the variant; a variant without rules of its own is not listed.
VARIANTS: dict[str, Callable[[Fail], VariantInvariants]] = {
    "multi-paxos": MultiPaxosInvariants,
    "viewstamped": ViewstampedInvariants,
    "zab": ZabInvariants,
}

#: The variants that decide each index by itself. What is chosen there may be written again under a
#: higher generation, after any predecessor; what never changes is the value.
SLOT_WISE = frozenset({"multi-paxos"})

"""Ablations: a subclass of one part with one method, put into the parts of a node."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.ablations import registry
from cluster.ablations.registry import Ablation, UnknownAblation, ablate, all_ablations, find
from cluster.clocks.generation_clock import GenerationClock
from cluster.consensus.raft import Raft, RaftParts
from cluster.consensus.read_index import ReadIndex
from cluster.core.replica import ReplicaParts

PAXOS = ("A20p", "A20q", "A21p", "A22p", "A22q", "A24p", "A24q")


def test_what_can_be_derived_is_not_declared() -> None:
    a30 = find("a30")
    assert (a30.id, a30.slug) == ("A30", "leader-reads-without-read-index")
    assert a30.target == "cluster.consensus.read_index:ReadIndex"
    assert (a30.decision, a30.pattern, a30.schedule) == ("read_is_safe", "read_index", "A30.txt")
    assert find("A28A").id == "A28a" and find(find("a01").name).id == "A01"


def test_every_ablation_has_a_module_of_its_name_and_they_are_in_order() -> None:
    folder = Path(registry.__file__).parent
    modules = {path.stem.partition("_")[0] for path in folder.glob("a[0-9]*_*.py")}
    ids = [found.id for found in all_ablations()]
    assert {found.lower() for found in ids} == modules
    assert ids == sorted(ids, key=lambda id: (int(id[1:3]), id))
    assert {path.stem for path in (folder / "schedules").glob("*.txt")} == {*ids}


def test_ablations_are_put_into_the_parts_they_concern_and_nothing_else() -> None:
    intact = ReplicaParts()
    assert ablate(intact, ()) == intact
    ablated = ablate(intact, ("A30", "a28a", "leader-reads-without-read-index"))
    assert isinstance(ablated.consensus, RaftParts)
    assert issubclass(ablated.consensus.reads, ReadIndex)
    assert ablated.consensus.reads(1).read_is_safe(9, 0)
    assert not ReadIndex(1).read_is_safe(9, 0)
    assert ablated.consensus.clock is GenerationClock and ablated.receiver is not intact.receiver
    assert ablated.storage is intact.storage


def test_an_ablation_of_a_part_the_node_has_not_is_refused() -> None:
    with pytest.raises(UnknownAblation, match=r"A01.* concerns cluster.log.storage:Storage"):
        ablate(RaftParts(), ("A01",))


class Wrong:
    """Overrides that are no ablations."""

    class NoPart:
        def read_is_safe(self, round: int, confirmed: int) -> bool:
            return True

    class NoSuchDecision(ReadIndex):
        def reads_are_safe(self) -> bool:
            return True

    class TwoDecisions(ReadIndex):
        def read_is_safe(self, round: int, confirmed: int) -> bool:
            return True

        def mark_is_current(self, mark: int) -> bool:
            return True

    class Nothing(ReadIndex):
        pass

    class OnlyMisplaced(ReadIndex):
        def read_is_safe(self, round: int, confirmed: int) -> bool:
            return True


@pytest.mark.parametrize(
    ("override", "why"),
    [
        (Wrong.NoPart, "is not a subclass of one part"),
        (Wrong.NoSuchDecision, "reads_are_safe overrides nothing in ReadIndex"),
        (Wrong.TwoDecisions, "not one decision"),
        (Wrong.Nothing, "overrides nothing, not one decision"),
        (Wrong.OnlyMisplaced, "is not named aNN_some_words"),
    ],
)
def test_a_declaration_that_is_none_is_refused(override: type, why: str) -> None:
    with pytest.raises(TypeError, match=why):
        Ablation(override, removes="", breaks="", nemesis="")


def test_raft_is_a_subclass_of_nothing_of_ours() -> None:
    assert Raft.__bases__ == (object,)


def test_an_id_without_its_letter_names_those_that_there_are() -> None:
    with pytest.raises(UnknownAblation, match=r"'a45'; there are A45a, A45b$"):
        find("a45")

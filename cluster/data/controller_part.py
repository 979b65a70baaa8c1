"""Controller part: the controller as a part of a data node.

A data node hosts it beside its placement part, whose map and lease it uses. It has a way to the
groups of its own, so its questions never mix with those of other parts.
"""

from __future__ import annotations

from typing import Any

from cluster.config import ClusterConfig
from cluster.data.controller import Controller
from cluster.data.partition_record import Layout
from cluster.data.parts import PartSetting
from cluster.data.placement_part import PlacementPart
from cluster.data.size_policy import SizeLimits
from cluster.ports import Effect, Note


def layout_of(config: ClusterConfig) -> Layout:
    """How a new cluster divides its keys, by its settings.

    Raises:
        ValueError: the settings say nothing that can be.
    """
    return Layout(
        scheme=config.partition_scheme,
        slots=config.partition_slots,
        splits=config.partition_splits,
    )


def limits_of(config: ClusterConfig) -> SizeLimits | None:
    """When ranges are split and merged by themselves; None for never.

    Raises:
        ValueError: what was split would be merged again.
    """
    if not config.partition_split_keys:
        return None
    return SizeLimits(
        split_keys=config.partition_split_keys,
        split_writes=config.partition_split_writes,
        merge_keys=config.partition_merge_keys,
        poll_ns=config.partition_poll_ns,
    )


class ControllerPart:
    """The controller of one node, elected or not.

    Args:
        setting: what the node gives its parts; its ``placement`` is a :class:`PlacementPart`.
    """

    def __init__(self, setting: PartSetting) -> None:
        place = setting.placement
        assert isinstance(place, PlacementPart), "a controller needs the node's placement"
        self.controller = Controller(
            setting.node,
            place.watch,
            place.registration,
            setting.services.ask,
            founding=place.founding,
            layout=layout_of(setting.config),
            limits=limits_of(setting.config),
            part_bytes=setting.config.partition_part_bytes,
        )
        self._told = 0

    @property
    def deadline_ns(self) -> int:
        """When :meth:`tick` must be called at the latest."""
        return self.controller.deadline_ns

    def start(self, now_ns: int) -> list[Effect]:
        """The node starts: its groups are there, and may be asked."""
        return self.tick(now_ns)

    def tick(self, now_ns: int) -> list[Effect]:
        """Time has passed, or the map has changed."""
        self.controller.tick(now_ns)
        token = self.controller.token
        if token == self._told:
            return []
        event = "controller-elected" if token else "controller-resigned"
        detail = {"token": token or self._told}
        self._told = token
        return [Note(event, detail)]

    def on_answer(
        self, now_ns: int, token: int, status: str, value: Any, error: str
    ) -> list[Effect]:
        """A question to a group has its outcome."""
        self.controller.on_answer(now_ns, token, status, value, error)
        return self.tick(now_ns)

    def status(self) -> dict[str, Any]:
        """JSON-ready facts for the node's status."""
        return self.controller.status()

"""The records of our own file format, typed; the format itself is described in `jsonl`.

For `jsonl`, which reads it, and `jsonl_writer`.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

FORMAT = "history/1"

Kind = Literal["invoke", "ok", "fail", "info", "fault", "footer"]


class Record(msgspec.Struct, gc=False, omit_defaults=True):
    """One event line. The field order is the file's, which makes decoding several times faster."""

    i: int = -1
    t: int = -1
    p: int | str | None = None
    type: Kind | None = None
    f: str | None = None
    k: Any = None
    v: Any = None
    node: str | None = None
    error: Any = None


class FaultRecord(msgspec.Struct, omit_defaults=True):
    """One fault line, begin or end."""

    i: int
    t: int
    type: Literal["fault"]
    f: str
    phase: Literal["begin", "end"]
    id: int
    v: Any = None
    nodes: list[str] | None = None
    outcome: str | None = None
    evidence: dict[str, Any] | None = None


class Footer(msgspec.Struct):
    """The last line: counts of events, faults and outcomes, and a digest of all bytes before."""

    type: Literal["footer"]
    events: int
    faults: int
    ok: int
    fail: int
    info: int
    digest: str

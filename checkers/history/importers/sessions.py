"""From sessions of transactions to a history.

Files of weak-isolation checkers know the order within each session and nothing across sessions. A
history is a sequence, so the sessions are interleaved round by round, and its header says
``"realtime": False``: the order of events of different sessions means nothing, and a checker that
would use it must not.

For the importers of awdit's, dbcop's and PolySI's files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from checkers.history.history import History

#: One transaction: whether it committed, its micro-operations, and the place it stands in the file.
Transaction = tuple[bool, list[list[object]], str]

#: Said where a read of 0 became a read of nil; the header's ``nil`` says it too.
NIL_NOTE = "Value 0, which every key holds at first, is given as nil."

NOTE = "The file orders transactions within each session only: there is no real-time order."


def from_sessions(
    sessions: Sequence[Sequence[Transaction]],
    *,
    header: dict[str, object],
    notes: Sequence[str] = (),
) -> History:
    """The history of these sessions.

    Args:
        sessions: each a list of transactions in session order.
        header: what the file says of itself.
        notes: what the importer says besides that there is no real-time order.

    Raises:
        HistoryError: never for well-typed sessions; the columns are validated all the same.
    """
    types: list[str] = []
    processes: list[int] = []
    values: list[object] = []
    places: list[str] = []
    for number in range(max((len(session) for session in sessions), default=0)):
        for process, session in enumerate(sessions):
            if number >= len(session):
                continue
            committed, micros, place = session[number]
            asked = [[f, k, None if f == "r" else v] for f, k, v in micros]
            types += ["invoke", "ok" if committed else "fail"]
            processes += [process, process]
            values += [asked, micros]
            places += [place, place]
    count = len(types)
    place_of: Callable[[int], str] = places.__getitem__
    return History.from_columns(
        types=types,
        processes=processes,
        functions=["txn"] * count,
        keys=[None] * count,
        times_ns=[-1] * count,
        values=values,
        header={**header, "realtime": False},
        notes=[NOTE, *notes],
        place=place_of,
    )

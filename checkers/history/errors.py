"""Errors of a history file or its contents, each one sentence with the place."""

from __future__ import annotations

from checkers.core.wording import shortened


class HistoryError(ValueError):
    """A history that cannot be checked: malformed, torn beyond repair, or no history at all.

    Args:
        message: one sentence: what is wrong, the value, and a guess at the mistake.
        place: where: ``line 12``, ``event 40`` ...; empty if it is the whole file.
        path: the file, if there is one.
    """

    def __init__(self, message: str, *, place: str = "", path: str = "") -> None:
        self.message = message = shortened(message)
        self.place = place
        self.path = path
        where = ", ".join(part for part in (path, place) if part)
        super().__init__(f"{where}: {message}" if where else message)

    def at(self, path: str) -> HistoryError:
        """The same error with the file it is in, unless it has one already."""
        return self if self.path else HistoryError(self.message, place=self.place, path=path)

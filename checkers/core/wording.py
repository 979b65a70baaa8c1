"""Texts of a length that can be read: a key of 10 MB is not printed as 10 MB.

Every sentence that leaves a checker or a loader goes through :func:`shortened`, in one place each:
:class:`~checkers.core.checker.Checker` for results, :class:`~checkers.history.errors.HistoryError`
for what is wrong with a file, :mod:`checkers.check_files` for notes and the rest. Data, such as the
key of a finding, stays whole.

Anyone may use this module; it imports nothing of ours.
"""

from __future__ import annotations

import re

#: A longer word is cut to its beginning.
WORD_MAX, WORD_KEPT = 200, 60

#: A longer text is cut in its middle.
TEXT_MAX, TEXT_END = 4000, 800

_LONG_WORD = re.compile(rf"\S{{{WORD_MAX + 1},}}")


def shortened(text: str) -> str:
    """The text, with words and a middle that nobody would read left out, which is said."""
    if len(text) <= WORD_MAX:
        return text
    text = _LONG_WORD.sub(_cut, text)
    if len(text) <= TEXT_MAX:
        return text
    left = len(text) - TEXT_MAX
    return f"{text[: TEXT_MAX - TEXT_END]}... ({left} characters left out) ...{text[-TEXT_END:]}"


def _cut(match: re.Match[str]) -> str:
    word = match.group()
    return f"{word[:WORD_KEPT]}...({len(word)} characters)"

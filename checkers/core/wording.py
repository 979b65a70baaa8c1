"""Words for sentences: texts of a length that can be read, and hints for unknown names.

A key of 10 MB is not printed as 10 MB.

Every sentence that leaves a checker or a loader goes through :func:`shortened`, in one place each:
:class:`~checkers.core.checker.Checker` for results, :class:`~checkers.history.errors.HistoryError`
for what is wrong with a file, :mod:`checkers.check_files` for notes and the rest. Data, such as the
key of a finding, stays whole.

For every module; it imports nothing of ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

#: A longer word is cut to its beginning.
WORD_MAX, WORD_KEPT = 200, 60

#: A longer text is cut in its middle.
TEXT_MAX, TEXT_END = 4000, 800

#: How alike two names must be, from 0 to 1, for one to be taken for a slip of the other.
ALIKE = 0.5

_LONG_WORD = re.compile(rf"\S{{{WORD_MAX + 1},}}")


def shortened(text: str) -> str:
    """The text, shortened: a long middle is left out, and the text says so."""
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


def did_you_mean(
    name: str,
    known: Iterable[str],
    *,
    also: Iterable[str] = (),
    at_most: int = 1,
    else_: str = "there are",
) -> str:
    """The hint for an unknown name: the known names nearest to it, or all if none is near.

    Args:
        name: what was given; letter case matters only where a name is near in its own case.
        known: the names there are.
        also: other names for the same things, which are not listed.
        at_most: how many near names are said.
        else_: the words before the list of all names.
    """
    import difflib

    names = sorted(known)
    written = {each: each for each in (*names, *also)}
    for wanted, choices in (
        (name, written),
        (name.lower(), {each.lower(): each for each in written}),
    ):
        near = difflib.get_close_matches(wanted, choices, n=at_most, cutoff=ALIKE)
        if near:
            return f"did you mean {' or '.join(repr(choices[each]) for each in near)}?"
    return f"{else_}: {', '.join(names) or 'none'}"

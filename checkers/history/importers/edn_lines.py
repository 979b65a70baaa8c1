r"""The fast way through an EDN history: most lines of one have the same shape.

Jepsen writes an operation a line, with the same keys in the same order. From a line that the
general parser has read, a *shape* is learned: a regular expression for lines with these keys, each
value being an atom, a plain string or a vector without strings, maps, tags or comments in it. A
block of which every line has the shape is taken apart by one call in C; otherwise line by line, and
what has no known shape goes to the general parser. Nothing is guessed: a line is taken the fast way
only if the general parser would read the same, and vectors are read by that parser in any case.

For `jepsen_edn`.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterator, Sequence
from typing import Any

from checkers.history import edn
from checkers.history.errors import HistoryError
from checkers.history.importers.edn_scan import Lines as Found
from checkers.history.importers.edn_scan import Scanner
from checkers.history.importers.rows import Rows

#: How many shapes are learned of one file, and how many lines are looked at for that.
SHAPES_MAX = 8
ATTEMPTS_MAX = 1000

_ATOM = r"[^\s\"{}()\[\],;\\#@^`~]+"
_VALUE = rf'(?:{_ATOM}|"[^"\\\n]*"|\[[^"{{}}();\\#@^`~\n]*\])'
#: A value passed over, which nothing reads again: so it must be surely a value. It is no vector,
#: whose pattern might swallow a key that means something.
_PASSED = r'(?:-?(?:0|[1-9][0-9]{0,17})|:?[A-Za-z][A-Za-z0-9_.*+!?/-]*|"[^"\\\n]*")'
_PAIR = re.compile(rf":([a-z][a-z-]*)([ \t]+)({_VALUE})([ \t]*,?[ \t]*)")
_LINE = re.compile(r"((?:#jepsen\.history\.Op)?[ \t]*\{)(.*)\}[ \t]*\n")

#: The keys used of a line, as patterns; other keys must be there but are passed over.
_TAKEN = {
    "type": ":(invoke|ok|fail|info)",
    "process": r"(0|[1-9]\d{0,17})",
    "f": r":([A-Za-z][\w.*+!?-]*)",
    "value": f"({_VALUE})",
    "time": r"(0|[1-9]\d{0,17})",
    "key": f"({_VALUE})",
    "node": f"({_VALUE})",
    "error": f"({_VALUE})",
}
_NAMES = tuple(_TAKEN)
_NEEDED = frozenset(("type", "process", "f", "value"))
#: Keys that mean something to the general way only.
_REFUSED = frozenset(("exception",))

Texts = tuple[str | None, ...]


class Shape:
    """Lines with the same keys in the same order."""

    def __init__(self, pattern: re.Pattern[str], names: list[str]) -> None:
        self.pattern = pattern
        self.names = names
        #: from a match's groups, with None appended, to the texts in the order of ``_NAMES``
        self.pick = operator.itemgetter(
            *(names.index(name) if name in names else len(names) for name in _NAMES)
        )

    @classmethod
    def of(cls, line: str) -> Shape | None:
        """The shape of a line, if it is one that can be taken the fast way."""
        found = _LINE.fullmatch(line)
        if found is None:
            return None
        parts, names, seen, end = [re.escape(found[1])], list[str](), set[str](), 0
        body = found[2]
        while end < len(body):
            pair = _PAIR.match(body, end)
            if pair is None or pair[1] in seen or pair[1] in _REFUSED:
                return None
            seen.add(pair[1])
            taken = _TAKEN.get(pair[1])
            names += [pair[1]] if taken else []
            if not taken and pair[3][0] == "[":
                return None
            parts.append(f":{pair[1]}[ \t]+{taken or _PASSED}")
            end = pair.end()
            parts.append("[ \t]*,[ \t]*" if "," in pair[4] else "[ \t]+" if end < len(body) else "")
        if not _NEEDED.issubset(names):
            return None
        pattern = re.compile("^" + "".join(parts) + "\\}[ \t]*\n", re.MULTILINE)
        return cls(pattern, names) if pattern.fullmatch(line) else None


class Lines:
    """Takes blocks of text apart and hands operations to ``rows``, in order.

    Args:
        parser: the general parser; it sees what has no known shape.
        rows: where the operations go.
        scanner: takes lines apart in machine code, in place of shapes, for a large file.
    """

    def __init__(self, parser: edn.Parser, rows: Rows, scanner: Scanner | None = None) -> None:
        self.parser = parser
        self.rows = rows
        self.scanner = scanner
        self.shapes: list[Shape] = []
        self.attempts = 0
        self.atoms: dict[str | None, object] = {None: None}

    def feed(self, block: str) -> None:
        """Take the next block, which ends at a line end outside any string.

        Raises:
            HistoryError: it is no EDN, or no operations.
        """
        if self.scanner is not None:
            self._scanned(self.scanner, block)
            return
        if self.parser.at_top and len(self.shapes) == 1:
            shape = self.shapes[0]
            found = shape.pattern.findall(block)
            if len(found) == block.count("\n") and block.endswith("\n"):
                self._take(dict(zip(shape.names, zip(*found))), [block])
                return
        self._line_by_line(block)

    def _scanned(self, scanner: Scanner, block: str) -> None:
        """Stretches of simple lines and of others, in turn."""
        text, rest = block[: block.rfind("\n") + 1], block[block.rfind("\n") + 1 :]
        scanner.scan(text)
        lines: list[str] = []
        pending: list[str] = []
        open_string = False
        for simple, first, end in scanner.runs():
            if simple and not pending and self.parser.at_top:
                self._take_lines(scanner.lines(first, end))
                continue
            lines = lines or list(_lines(text))
            for at in range(first, end):
                pending.append(lines[at])
                open_string = _open_string(lines[at], open_string)
                if open_string or not (simple or at + 1 == end):
                    continue
                # The pending lines may leave a form open that the next line belongs to.
                self._general(pending)
                if simple and at + 1 < end and self.parser.at_top:
                    self._take_lines(scanner.lines(at + 1, end))
                    break
        if pending or rest:
            self._general([*pending, rest])

    def _take_lines(self, found: Found) -> None:
        self.rows.extend_columns(
            types=found.types,
            processes=found.processes,
            functions=found.functions,
            values=found.values,
            times_ns=found.times_ns,
            keys=found.keys,
            nodes=found.nodes,
            errors=found.errors,
        )
        self.parser.line += len(found.processes)

    def _line_by_line(self, block: str) -> None:
        """Lines with known shapes and stretches of others, in turn."""
        run: list[Texts] = []
        text: list[str] = []  # the lines of the run
        pending: list[str] = []
        open_string = False
        for line in _lines(block):
            if open_string:
                pending.append(line)
                open_string = _open_string(line, True)
                continue
            texts = self._match(line) if pending or self.parser.at_top else None
            if texts is None:
                self._take_run(run, text)
                pending.append(line)
                open_string = _open_string(line, False)
                continue
            if pending:
                self._general(pending)
                # The pending lines may have left a form open that this line belongs to.
                texts = texts if self.parser.at_top else None
                if texts is None:
                    pending.append(line)
                    continue
            run.append(texts)
            text.append(line)
        self._take_run(run, text)
        if pending:
            self._general(pending)

    def _match(self, line: str) -> Texts | None:
        """The texts of a line that has a known shape, or one that can be learned."""
        for shape in self.shapes:
            match = shape.pattern.fullmatch(line)
            if match is not None:
                texts: Texts = shape.pick((*match.groups(), None))
                return texts
        if len(self.shapes) >= SHAPES_MAX or self.attempts >= ATTEMPTS_MAX:
            return None
        self.attempts += 1
        learned = Shape.of(line)
        if learned is None:
            return None
        self.shapes.append(learned)
        return self._match(line)

    def _general(self, pending: list[str]) -> None:
        self.rows.extend(self.parser.feed("".join(pending)))
        pending.clear()

    def _take_run(self, run: list[Texts], text: list[str]) -> None:
        if run:
            columns: dict[str, Sequence[object]] = {
                name: column
                for name, column in zip(_NAMES, zip(*run))
                if name in _NEEDED or any(text is not None for text in column)
            }
            self._take(columns, text)
            run.clear()
            text.clear()

    def _take(self, columns: dict[str, Sequence[Any]], text: list[str]) -> None:
        """Lines of known shapes, as columns of texts; ``text`` is the lines themselves."""
        made: dict[str, list[Any]] = {}
        try:
            for name in ("value", "key", "node", "error"):
                if name in columns:
                    made[name] = self._values(columns[name])
        except HistoryError:
            # A text looked like one value and is not: `[1], :x [2]`, say.
            self._general(text)
            return
        count = len(columns["type"])
        times = columns.get("time")
        self.rows.extend_columns(
            types=columns["type"],
            processes=list(map(int, columns["process"])),
            functions=columns["f"],
            values=made["value"],
            times_ns=None if times is None else [-1 if t is None else int(t) for t in times],
            keys=made.get("key"),
            nodes=made.get("node"),
            errors=made.get("error"),
        )
        self.parser.line += count

    def _values(self, texts: Sequence[str | None]) -> list[object]:
        """The values of their texts.

        Raises:
            HistoryError: one is no value.
        """
        values: list[object] = []
        atoms = self.atoms
        vectors: list[int] = []
        for text in texts:
            if text in atoms:
                values.append(atoms[text])
            elif text is None or (text.isdigit() and text[0] != "0"):
                values.append(text and (int(text) if len(text) < 19 else _one(text)))
            elif text[0] == "[":
                vectors.append(len(values))
                values.append(None)
            else:
                values.append(_one(text))
                if len(atoms) < edn.ATOMS_MAX:
                    atoms[text] = values[-1]
        if vectors:
            forms = edn.loads(" :| ".join([str(texts[at]) for at in vectors]))
            if len(forms) != 2 * len(vectors) - 1 or any(mark != "|" for mark in forms[1::2]):
                for at in vectors:
                    _one(str(texts[at]))
                raise HistoryError("brackets of values do not match")
            for at, form in zip(vectors, forms[::2]):
                values[at] = form
        return values


def _open_string(line: str, open_before: bool) -> bool:
    """Whether a string is open after a line."""
    return edn.open_string('"' + line if open_before else line)


def _one(text: str) -> object:
    forms = edn.loads(text)
    if len(forms) != 1:
        raise HistoryError(f"{text[:60]!r} is not one value")
    return forms[0]


def _lines(block: str) -> Iterator[str]:
    """Lines with their ends, split at newlines only."""
    lines = block.split("\n")
    last = lines.pop()
    yield from (line + "\n" for line in lines)
    if last:
        yield last

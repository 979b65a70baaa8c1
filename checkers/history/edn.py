r"""A fast reader of EDN, the notation of Clojure, in which Jepsen keeps its histories.

Values become plain Python: keywords and symbols are strings without the colon, ``nil`` is None,
vectors, lists and sets are lists, maps are dicts (keys that cannot be hashed are frozen), ``7N`` is
an int, ``1.5M`` a Decimal, ``\a`` a string, a tagged value is the value it tags, metadata
(``^{...}``) is passed over. Nothing is executed: a tag or a record's name only marks a value.

Method: one regular expression cuts a block of text into tokens in C; one loop appends atoms to the
innermost open collection, and a dictionary remembers what each short token means, so that keywords
are decoded once. There is no recursion, so depth is bounded by a limit and not by Python's stack.
Tags and discards are left in the collection as markers and applied, right to left, when it closes.
Positions are not tracked; when something is wrong the number of tokens consumed is known, and the
text is scanned once more to find the line.

Source: the edn-format specification. For the importers; ``loads`` is public.
"""

from __future__ import annotations

import decimal
import operator
import re
from collections.abc import Iterator

from checkers.history.columns import freeze, short
from checkers.history.errors import HistoryError
from checkers.history.files import Opened, cut_note
from checkers.history.op import TYPE_CODES

#: Text tokenised at once.
BLOCK_BYTES = 1 << 20

#: No honest form is longer than this without a line end outside it.
FORM_BYTES_MAX = 64 << 20

#: Collections inside each other.
DEPTH_MAX = 500

#: Digits of a number; Python converts no more than 4300.
DIGITS_MAX = 4000

#: Tokens remembered before the memory is cleared.
ATOMS_MAX = 100_000

_TOKEN = re.compile(
    r"""
      :?[A-Za-z0-9_.*+!?$%&=<>/'|-][A-Za-z0-9_.*+!?$%&=<>/'|:\#-]*   # common atoms
    | [\[\]{}()]
    | "[^"\\]*(?:\\.[^"\\]*)*"
    | \#jepsen\.history\.Op\s*\{
    | \#\{
    | \#"[^"\\]*(?:\\.[^"\\]*)*"
    | ;[^\n]*
    | \\(?:u[0-9a-fA-F]{4}|[a-zA-Z]+|.)
    | \#_
    | \#?\^
    | \#:{0,2}(?:\#-?)?[^\W\d_][^\s,()\[\]{}";\\]*
    | [^\s,()\[\]{}";\\\#@^`~][^\s,()\[\]{}";\\@^`~]*                # any other atom
    | [^\s,]                                                        # what cannot be
    """,
    re.VERBOSE | re.DOTALL,
)
_INT = re.compile(r"[+-]?(?:0|[1-9][0-9]*)N?")
_HEX = re.compile(r"[+-]?0[xX][0-9a-fA-F]{1,999}N?")
_FLOAT = re.compile(r"[+-]?(?:0|[1-9][0-9]*)(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?")
_RATIO = re.compile(r"[+-]?(?:0|[1-9][0-9]*)/[1-9][0-9]*")
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|[0-7]{1,3}|.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\", "b": "\b", "f": "\f"}
_SURROGATE = re.compile("[\ud800-\udfff]")
#: A line that begins another form.
_FURTHER = re.compile(r"\n[ \t]*(?:#[\w.]+[ \t]*)?\{:")
_CHARS = {
    "newline": "\n", "space": " ", "tab": "\t", "return": "\r", "backspace": "\b", "formfeed": "\f",
}  # fmt: skip
_SYMBOLIC = {"##Inf": float("inf"), "##-Inf": float("-inf")}
_CONSTANTS: dict[str, object] = {"nil": None, "true": True, "false": False}
_OPENS = {"[": "]", "(": ")", "{": "}", "#{": "}"}
_CLOSES = frozenset("])}")
#: Marks that drop the form behind them: a discard, and a metadata mark.
_DROP = frozenset(("#_", "^", "#^"))
_MISSING = object()


class _Bad(Exception):
    """The error of the token just consumed."""


class _NoEnd(_Bad):
    """A string that has no end in the text."""


class _Marker:
    """A tag, a discard or a metadata mark, waiting for the value after it.

    Args:
        tag: as it is written, ``#inst``, ``#_`` or ``^``.
    """

    def __init__(self, tag: str) -> None:
        self.tag = tag
        self.drops = tag in _DROP  # the form behind it
        self.needs = 1 if tag == "#_" or not self.drops else 2  # forms behind it


class Parser:
    """Parses EDN fed in blocks; complete top-level forms come out in order.

    Args:
        unwrap: treat a vector or list that is the first thing in the text as the sequence of its
            elements, which is how some histories are kept.

    Attributes:
        line: the line on which the next block begins.
    """

    def __init__(self, *, unwrap: bool = False) -> None:
        self._unwrap = unwrap
        self._wrapped = ""  # the bracket that closes the unwrapped sequence, while it is open
        self._ended = False  # it was closed: nothing may follow
        self._begun = False
        self._stack: list[tuple[list[object], str]] = []
        self._items: list[object] = []
        self._atoms: dict[str, object] = dict(_CONSTANTS)
        self._marked = False
        self._torn = ""  # why the text ends within a string
        self.line = 1

    def feed(self, text: str) -> list[object]:
        """Parse a block that ends outside any token; returns the forms completed by it.

        Raises:
            HistoryError: it is no EDN; the place is the line.
        """
        tokens = _TOKEN.findall(text)
        if not self._begun and tokens:
            self._begin(tokens)
        consumed = iter(tokens)
        try:
            self._run(consumed)
        except _NoEnd as error:
            at = self._offset(text, len(tokens) - operator.length_hint(consumed) - 1)
            self.line += text.count("\n", 0, at)
            if _FURTHER.search(text, at):  # it swallows other forms
                raise HistoryError(_sentence(error), place=self._here()) from None
            self._torn = str(error)
            return self._completed()
        except (_Bad, ValueError, ArithmeticError) as error:
            number = len(tokens) - operator.length_hint(consumed) - 1
            raise HistoryError(_sentence(error), place=self._place(text, number)) from None
        self.line += text.count("\n")
        return self._completed()

    @property
    def at_top(self) -> bool:
        """Whether nothing is open or waiting: a new form of the history may begin here."""
        return self._begun and not (self._stack or self._items or self._ended)

    def _begin(self, tokens: list[str]) -> None:
        """At the first token behind comments and metadata, see whether the forms are wrapped."""
        depth, metadata = 0, False
        for number, token in enumerate(tokens):
            if token[0] == ";":
                continue
            if depth == 0 and token in _DROP and token != "#_":
                metadata = True
            elif metadata:
                depth += (token in _OPENS) - (token in _CLOSES)
                metadata = depth > 0
            else:
                self._begun = True
                if self._unwrap and token in "[(":
                    self._wrapped = _OPENS[token]
                    tokens[number] = ";"
                return

    def finish(self) -> None:
        """Say that the text is over.

        Raises:
            HistoryError: something is still open.
        """
        if self._torn:
            raise HistoryError(f"bad EDN: {self._torn}", place=self._here())
        if self._stack or self._wrapped or self._items:
            what = _OPENS[self._stack[-1][1]] if self._stack else self._wrapped or "a value"
            raise HistoryError(
                f"the text ends where {what!r} was still to come; it may be cut",
                place=self._here(),
            )

    def end(self) -> str:
        """Say that the text is over, where it may be cut in its last form.

        Returns:
            what is to be noted of that; empty if nothing is open.

        Raises:
            HistoryError: what is open holds an operation: a bracket is missing in the middle.
        """
        inside = [self._items, *(items for items, _ in self._stack[1:])] if self._stack else []
        if any(_is_operation(form) for items in inside for form in items):
            self.finish()
        if self._torn or self._stack or self._items:
            return cut_note(self._here())
        return "The file ends before its closing bracket: it may be cut." if self._wrapped else ""

    def _run(self, tokens: Iterator[str]) -> None:
        items, stack, atoms = self._items, self._stack, self._atoms
        self._nothing_more(tokens)
        try:
            for token in tokens:
                value = atoms.get(token, _MISSING)
                if value is not _MISSING:
                    items.append(value)
                elif token in _OPENS:
                    stack.append((items, token))
                    items = []
                    if len(stack) > DEPTH_MAX:
                        raise _Bad(f"collections are nested deeper than {DEPTH_MAX}")
                elif token in _CLOSES:
                    if stack:
                        outer, opened = stack.pop()
                        outer.append(self._close(items, opened, token))
                        items = outer
                    else:
                        self._unwrap_end(token, items)
                        items = self._items
                        self._nothing_more(tokens)
                elif token.isdigit() and (token[0] != "0" or token == "0"):
                    items.append(_int(token))
                elif token[0] == ";":
                    pass
                elif token[0] == "#" and token[-1] == "{":
                    stack.append((items, "{"))
                    items = []
                elif token in _DROP or (token[0] == "#" and token[1:2] not in '#"'):
                    items.append(_Marker(token))
                    self._marked = True
                else:
                    value = _atom(token)
                    items.append(value)
                    if len(token) < 40:
                        atoms[token] = value
        finally:
            self._items = items
        if len(atoms) > ATOMS_MAX:
            self._atoms = dict(_CONSTANTS)

    def _unwrap_end(self, token: str, items: list[object]) -> None:
        if token != self._wrapped:
            raise _Bad(f"{short(token)} closes nothing")
        self._items = _apply(items) if self._marked else items
        self._wrapped, self._ended = "", True

    def _nothing_more(self, tokens: Iterator[str]) -> None:
        """After the unwrapped sequence was closed only comments may follow."""
        if self._ended:
            for token in tokens:
                if token[0] != ";":
                    raise _Bad(f"{short(token)} follows the end of the history")

    def _close(self, items: list[object], opened: str, token: str) -> object:
        if _OPENS[opened] != token:
            raise _Bad(f"{short(token)} closes a {opened!r}")
        if self._marked:
            items = _apply(items)
        if opened != "{":
            return items
        if len(items) % 2:
            raise _Bad("a map has a key without a value")
        keys = items[::2]
        try:
            made = dict(zip(keys, items[1::2]))
        except TypeError:
            keys = [freeze(key) for key in keys]
            made = dict(zip(keys, items[1::2]))
        if len(made) * 2 != len(items):
            raise _Bad("a map has the same key twice")
        return made

    def _completed(self) -> list[object]:
        """Forms that are complete now; a marker at the end still waits for its value."""
        top = self._stack[0][0] if self._stack else self._items
        keep = len(top)
        while keep and isinstance(top[keep - 1], _Marker):
            keep -= 1
        forms = top[:keep]
        if self._marked:
            try:
                forms = _apply(forms)
            except _Bad:
                return []  # several discards in a row, whose values are in the next block
        del top[:keep]
        return forms

    def _here(self) -> str:
        return f"line {self.line}"

    def _place(self, text: str, number: int) -> str:
        return f"line {self.line + text.count(chr(10), 0, self._offset(text, number))}"

    def _offset(self, text: str, number: int) -> int:
        """Where a token begins."""
        for at, match in enumerate(_TOKEN.finditer(text)):
            if at == number:
                return match.start()
        return 0


def _is_operation(form: object) -> bool:
    kind = form.get("type") if isinstance(form, dict) else None
    return isinstance(kind, str) and kind in TYPE_CODES


def _apply(items: list[object]) -> list[object]:
    """Tags, discards and metadata marks applied to the values after them."""
    if not any(type(item) is _Marker for item in items):
        return items
    made: list[object] = []
    for item in reversed(items):
        if type(item) is not _Marker:
            made.append(item)
        elif len(made) < item.needs:
            raise _Bad(f"nothing follows {item.tag[:60]}")
        elif item.drops:
            made.pop()
    made.reverse()
    return made


def _atom(token: str) -> object:
    """The value of a token that is no bracket."""
    first = token[0]
    if first == ":":
        if len(token) == 1 or token[1] == ":":
            raise _Bad(f"{short(token)} is no keyword")
        return token[1:]
    if first == '"':
        if len(token) == 1:
            raise _NoEnd("a string has no end")
        return _string(token[1:-1])
    if first == "#" and token[1:2] == '"':
        return token[2:-1]  # a regular expression, which is nothing but its text here
    if first == "\\":
        return _char(token[1:])
    if first.isdigit() or (first in "+-" and token[1:2].isdigit()):
        return _number(token)
    if token == "##NaN":
        raise _Bad("##NaN equals nothing, itself included, so no checker can follow it")
    if token in _SYMBOLIC:
        return _SYMBOLIC[token]
    if first in "#@^`~":
        raise _Bad(f"{short(token)} is no EDN")
    return token


def _number(token: str) -> object:
    if _INT.fullmatch(token):
        return _int(token.rstrip("N"))
    if token[-1] == "M" and _FLOAT.fullmatch(token[:-1]):
        return decimal.Decimal(token[:-1])
    if _FLOAT.fullmatch(token):
        return float(token)
    if _RATIO.fullmatch(token):
        over, under = token.split("/")
        return int(over) / int(under)
    if _HEX.fullmatch(token):
        return int(token.rstrip("N"), 16)
    raise _Bad(f"{short(token)} is no number")


def _int(digits: str) -> int:
    if len(digits) > DIGITS_MAX:
        raise _Bad(f"a number has {len(digits)} digits; {DIGITS_MAX} is the most")
    return int(digits)


def _string(body: str) -> str:
    if "\\" not in body:
        return body
    text = _ESCAPE.sub(_escape, body)
    if _SURROGATE.search(text):  # halves of a character, as Java has them
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _escape(match: re.Match[str]) -> str:
    code = match.group(1)
    if code in _ESCAPES:
        return _ESCAPES[code]
    if code[0] == "u" and len(code) == 5:
        return chr(int(code[1:], 16))
    if code[0] in "01234567":
        return chr(int(code, 8))
    raise _Bad(f"a string has the unknown escape \\{code}")


def _char(name: str) -> str:
    if len(name) == 1:
        return name
    if name in _CHARS:
        return _CHARS[name]
    if re.fullmatch(r"u[0-9a-fA-F]{4}", name):
        return chr(int(name[1:], 16))
    raise _Bad(f"\\{name[:60]} is no character")


def _sentence(error: Exception) -> str:
    return f"bad EDN: {error}"


def loads(text: str) -> list[object]:
    """All top-level forms of an EDN text.

    Raises:
        HistoryError: it is no EDN; the place is the line.
    """
    parser = Parser()
    forms = parser.feed(text)
    parser.finish()
    return forms


def form_end(text: str) -> int:
    """Where the first value of a text ends; 0 if there is no text.

    Raises:
        HistoryError: the value has no end, or a bracket closes nothing.
    """
    depth = dropped = 0
    for match in _TOKEN.finditer(text):
        token = match.group()
        if token in _OPENS or (token[0] == "#" and token[-1] == "{"):
            depth += 1
        elif token in _CLOSES:
            depth -= 1
        elif depth == 0 and token in _DROP:
            dropped += 1
            continue
        elif token[0] == ";" or (token[0] == "#" and token[:2] != "##"):
            continue  # a comment, or a tag whose value comes yet
        if depth < 0:
            raise HistoryError(f"bad EDN: {short(token)} closes nothing")
        if depth == 0 and not dropped:
            return match.end()
        dropped -= depth == 0
    if text.strip():
        raise HistoryError("bad EDN: the value has no end")
    return 0


def blocks(path: str) -> Iterator[str]:
    """A file as blocks of text that end at a line end outside any string.

    Raises:
        HistoryError: it is not UTF-8, or has no such line end for too long.
    """
    rest = b""
    line = 1
    with Opened(path) as file:
        while block := file.read(BLOCK_BYTES):
            rest += block
            cut = rest.rfind(b"\n") + 1
            if cut:
                text = _decode(rest[:cut], line)
                if not open_string(text):
                    yield text
                    line += text.count("\n")
                    rest = rest[cut:]
            if len(rest) > FORM_BYTES_MAX:
                raise HistoryError(
                    f"no line end outside a string for {FORM_BYTES_MAX >> 20} MB; this is no "
                    "history",
                    place=f"line {line}",
                )
    if rest:
        yield _decode(rest, line)


def _decode(data: bytes, line: int) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line += data.count(b"\n", 0, error.start)
        raise HistoryError("the text is not UTF-8", place=f"line {line}") from None


def open_string(text: str) -> bool:
    """Whether a block ends inside a string; the scan is skipped where it cannot."""
    if '"' not in text:
        return False
    if "\\" not in text and ";" not in text:
        return text.count('"') % 2 == 1
    found = re.finditer(r'"[^"\\]*(?:\\.[^"\\]*)*"|;[^\n]*|\\.|"', text, re.DOTALL)
    return any(match.group() == '"' for match in found)

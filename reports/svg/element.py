"""A very small SVG writer: elements with escaped attributes and text.

A figure is a string made of nested calls. Every attribute and every text passes through
:func:`html.escape`; nothing else in the package writes angle brackets into a figure. Numbers are
written with at most one decimal, so that equal inputs give equal bytes on every machine. There are
no ``style`` attributes: the page's content security policy forbids them, and colours belong to the
style sheet, where the dark theme can change them.
"""

from __future__ import annotations

from html import escape
from typing import NewType

#: Markup that is already escaped.
Markup = NewType("Markup", str)

#: Width of one character of the monospaced face, in ems; the widest of the usual faces.
MONO_EM = 0.61


def number(value: float) -> str:
    """A coordinate: at most one decimal."""
    text = f"{value:.1f}"
    return text[:-2] if text.endswith(".0") else text


def el(name: str, *children: Markup, text: str = "", **attributes: object) -> Markup:
    """One element.

    Args:
        name: the element's name.
        children: markup inside it, after the text.
        text: text inside it, to be escaped.
        attributes: ``class_`` and the like lose their underscore at the end, others inside names
            become hyphens; None leaves an attribute out.
    """
    pairs = []
    for key, value in attributes.items():
        if value is None:
            continue
        shown = number(value) if isinstance(value, (int, float)) else str(value)
        name_ = key.rstrip("_").replace("__", ":").replace("_", "-")
        pairs.append(f' {name_}="{escape(shown)}"')
    inside = escape(text, quote=False) + "".join(children)
    if not inside and name not in ("text", "title", "svg"):
        return Markup(f"<{name}{''.join(pairs)}/>")
    return Markup(f"<{name}{''.join(pairs)}>{inside}</{name}>")


def figure(
    width: float,
    height: float,
    title: str,
    *children: Markup,
    class_: str = "",
    id: str | None = None,
) -> Markup:
    """A whole picture with its title for readers who cannot see it.

    Args:
        width, height: in px at natural size; the page may scale it down.
        title: what the picture shows, in one sentence.
        children: the contents.
        class_: CSS class.
        id: the element's id, if it needs one.
    """
    return el(
        "svg",
        *children,
        class_=class_,
        viewBox=f"0 0 {number(width)} {number(height)}",
        width=width,
        height=height,
        role="img",
        aria_label=title,
        id=id,
    )


def label(x: float, y: float, words: str, *, class_: str = "", anchor: str = "start") -> Markup:
    """A line of text at a baseline."""
    side = None if anchor == "start" else anchor
    return el("text", text=words, x=x, y=y, class_=class_ or None, text_anchor=side)


def mono_px(words: str, size: float = 12.0) -> float:
    """Width of text in the monospaced face, in px."""
    return len(words) * size * MONO_EM

"""A report shows data from systems under test to people's browsers: nothing in it may run or load.

Goal: whatever a value, key, error, node name, log line, file name or verdict holds, it is text. The
hostile run puts one attack in every such place; the rendered files are parsed as a browser would.
"""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import canned
import pytest

import reports
from reports.markdown import block, code, escaped
from reports.server import index_page

ALLOWED = frozenset(
    """html head meta title style body a svg defs pattern path marker rect circle line text g
    header span nav b button main section div h1 h2 h3 h4 p ul ol li strong code dl dt dd table
    caption thead tbody tr th td figure figcaption article details summary pre form label input
    canvas noscript footer kbd script br""".split()  # noqa: SIM905
)


class Reader(HTMLParser):
    """Collects elements and attributes, and checks nesting of what is not void."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def parsed(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    return reader


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    run = canned.hostile(tmp_path / "register" / "hostile")
    reports.render(run)
    return run


@pytest.mark.parametrize("name", canned.RUNS)
def test_pages_hold_only_our_elements_and_load_nothing(name: str, tmp_path: Path) -> None:
    run = canned.RUNS[name](tmp_path / "register" / name)
    reader = parsed(reports.render(run).read_text("utf-8"))
    assert set(reader.tags) <= ALLOWED
    for tag, attribute, value in reader.attributes:
        assert not attribute.startswith("on"), (tag, attribute)
        assert attribute not in ("src", "srcset", "style", "srcdoc", "action", "xlink:href")
        if attribute == "href":
            assert re.match(r"#|[\w./%-]+$", value) and ":" not in value, value


def test_the_attack_is_there_as_text_everywhere(hostile: Path) -> None:
    html = (hostile / "report.html").read_text("utf-8")
    reader = parsed(html)
    assert "img" not in reader.tags and reader.tags.count("script") == 2
    assert "".join(reader.text).count("<img src=x onerror=") > 30
    assert "\u202e" not in html and "\x00" not in html
    assert "{{7*7}}" in html and "49`" not in html


def test_the_policy_allows_exactly_what_is_inside(hostile: Path) -> None:
    html = (hostile / "report.html").read_text("utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)
    assert policy is not None
    told = policy.group(1).replace("&#39;", "'")
    assert told.startswith("default-src 'none';") and "unsafe" not in told
    for tag, kind in (("style", "style-src"), ("script", "script-src")):
        found = re.search(rf"<{tag}>(.*?)</{tag}>", html, re.S)
        assert found is not None
        digest = base64.b64encode(hashlib.sha256(found.group(1).encode()).digest()).decode()
        assert f"{kind} 'sha256-{digest}'" in told
    assert "http:" not in re.sub(r"<script.*?</script>", "", html, flags=re.S)


def test_the_script_writes_text_only() -> None:
    for path in (Path(reports.__file__).parent / "assets").glob("*.js"):
        text = path.read_text("utf-8")
        banned = (
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|fetch\("
        )
        assert not re.search(banned, text), path.name


def test_junit_and_terminal_carry_no_control_characters(hostile: Path) -> None:
    xml = (hostile / "junit.xml").read_text("utf-8")
    told = reports.terminal_summary(hostile)
    for text in (xml, told, (hostile / "summary.md").read_text("utf-8")):
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text)


def test_markdown_cannot_be_left() -> None:
    attack = "```\n# x\n``` `` ` <img> [a](b) | *b*"
    assert block(attack).startswith("````text\n") and block(attack).endswith("\n````")
    assert code("a``b").startswith("``` ") and code("plain") == "`plain`"
    assert escaped("<img> [a](b)") == r"&lt;img&gt; \[a\]\(b\)"


def test_the_list_of_runs_is_as_safe(hostile: Path) -> None:
    reader = parsed(index_page(hostile.parent.parent))
    assert set(reader.tags) <= ALLOWED and "script" not in reader.tags
    assert not [a for a in reader.attributes if a[1].startswith("on")]

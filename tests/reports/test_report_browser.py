"""The page in a real browser: no console message, it draws, it answers keys, in both themes.

Skipped, with the reason, where Chromium or its driver is missing. Pages are opened from files with
an empty profile; nothing is on the network.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import browser
import canned
import pytest

import reports
from checkers.history import load

WHY_NOT = browser.why_missing()
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(bool(WHY_NOT), reason=f"needs a browser: {WHY_NOT}"),
]

#: Contrast by WCAG 2 between each text's colour and what is behind it; those under AA.
CONTRAST = """
const lum = (c) => { const v = c.map((n) => { n /= 255; return n <= .03928 ? n / 12.92 : ((n + .055) / 1.055) ** 2.4; }); return .2126 * v[0] + .7152 * v[1] + .0722 * v[2]; };
const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
const bad = [];
for (const el of document.querySelectorAll('h1,h2,h3,h4,p,li,dt,dd,td,th,a,code,pre,span,summary,button,figcaption,b')) {
  const own = [...el.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
  const box = el.getBoundingClientRect();
  if (!own || !box.width || !box.height || el.closest('.unseen, .skip, [hidden]')) continue;
  let back = [255, 255, 255], at = el;
  while (at) { const c = parse(getComputedStyle(at).backgroundColor); if (c.length === 3 || c[3] > .5) { back = c.slice(0, 3); break; } at = at.parentElement; }
  const ink = parse(getComputedStyle(el).color).slice(0, 3);
  const [a, b] = [lum(ink), lum(back)], ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
  const style = getComputedStyle(el), large = parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 600;
  if (ratio < (large ? 3 : 4.5)) bad.push(`${el.tagName}.${el.className} ${ratio.toFixed(2)} ${el.textContent.slice(0, 30)}`);
}
return bad;
"""  # noqa: E501


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("runs") / "register"
    return {name: reports.render(make(base / name)) for name, make in canned.RUNS.items()}


@pytest.fixture(scope="module", params=["light", "dark"])
def chromium(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[browser.Browser]:
    profile = tmp_path_factory.mktemp("profile")
    try:
        started = browser.Browser(profile, dark=request.param == "dark")
    except (OSError, RuntimeError) as error:
        pytest.skip(f"the browser that is installed does not start: {error}")
    with started as made:
        made.theme = request.param  # type: ignore[attr-defined]
        yield made


@pytest.mark.parametrize("name", canned.RUNS)
def test_it_opens_draws_and_fits(
    chromium: browser.Browser, pages: dict[str, Path], name: str
) -> None:
    chromium.open(pages[name])
    assert chromium.log() == []
    ready = chromium.run("return document.documentElement.dataset.ready")
    assert ready == ("empty" if name in ("torn", "no_history") else "yes")
    assert chromium.run("return document.documentElement.scrollWidth") <= 1280
    if ready == "yes":
        drawn = chromium.run(INK, "timeline-canvas")
        assert drawn > 200, "the timeline is blank"
        measured = name != "without_times"
        assert chromium.run("return !!document.getElementById('latency')") == measured
        assert not measured or chromium.run(INK, "latency") > 50
        shown = int(chromium.run("return document.getElementById('timeline-canvas').dataset.drawn"))
        text = pages[name].read_text("utf-8")
        data = re.search(r'id="data">(.*?)</script>', text, re.S)
        assert data is not None and shown == json.loads(data.group(1))["count"]
    dark = chromium.run("return getComputedStyle(document.body).backgroundColor")
    assert (dark == "rgb(21, 23, 26)") == (chromium.theme == "dark")  # type: ignore[attr-defined]
    assert chromium.run(CONTRAST) == []


INK = """
const canvas = document.getElementById(arguments[0]), copy = document.createElement('canvas');
copy.width = canvas.width; copy.height = canvas.height;
const pen = copy.getContext('2d', { willReadFrequently: true });
pen.drawImage(canvas, 0, 0);
const bytes = pen.getImageData(0, 0, canvas.width, canvas.height).data;
let ink = 0; for (let at = 3; at < bytes.length; at += 4) if (bytes[at] > 128) ink++;
return ink;
"""


@pytest.mark.parametrize("name", ["stale_read", "read_skew", "valid", "weak", "unknown"])
def test_the_first_screen_needs_no_scrolling(
    chromium: browser.Browser, pages: dict[str, Path], name: str
) -> None:
    chromium.open(pages[name])
    bottom = chromium.run("return document.getElementById('strip').getBoundingClientRect().bottom")
    assert bottom <= 800


SEEN = """
const all = [...document.querySelectorAll(arguments[0] + ' svg.cycle')];
const svg = all.filter((each) => each.clientWidth);
const text = svg[0].querySelector('.chip-label'), box = svg[0].getBoundingClientRect();
return { pictures: svg.length, font: parseFloat(getComputedStyle(text).fontSize),
         scale: box.width / svg[0].viewBox.baseVal.width, right: box.right };
"""


@pytest.mark.parametrize("width", [600, 1000, 1280])
def test_the_picture_of_a_cycle_is_readable_at_any_width(
    pages: dict[str, Path], width: int, tmp_path: Path
) -> None:
    with browser.Browser(tmp_path, size=(width, 800)) as narrow:
        narrow.open(pages["read_skew"])
        for place in (".picture", ".card"):
            seen = narrow.run(SEEN, place)
            assert seen["pictures"] == 1
            assert seen["font"] >= 12 and seen["scale"] == pytest.approx(1, abs=0.01)
            assert seen["right"] <= width
        cut = (
            "return [...document.querySelectorAll('h1')].some((h) => h.scrollWidth > h.clientWidth)"
        )
        assert not narrow.run(cut), "the headline is whole"


def test_an_attack_stays_text(chromium: browser.Browser, pages: dict[str, Path]) -> None:
    chromium.open(pages["hostile"])
    chromium.run("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    chromium.run("document.querySelector('#table-rows tr').click()")
    assert chromium.run("return document.images.length + document.scripts.length") == 2
    assert "onerror" in chromium.run("return document.getElementById('details').textContent")
    assert chromium.log() == []


def test_keys_move_between_findings_and_on_the_timeline(
    chromium: browser.Browser, pages: dict[str, Path]
) -> None:
    chromium.open(pages["hostile"])
    chromium.keys("j")
    assert chromium.run("return [location.hash, document.activeElement.id]") == ["#f1", "f1"]
    chromium.keys("jj")
    assert chromium.run("return location.hash") == "#f3"
    chromium.keys("k")
    assert chromium.run("return location.hash") == "#f2"
    chromium.open(pages["stale_read"])
    before = chromium.run(INK, "timeline-canvas")
    chromium.keys("++\ue014\ue007", into="#timeline-canvas")
    now = chromium.eventually(lambda ink: ink != before, INK, "timeline-canvas")
    assert now != before
    assert chromium.run("return document.getElementById('details').hidden") is False
    chromium.keys("/")
    assert chromium.run("return document.activeElement.id") == "query"


def test_search_chooses_operations(chromium: browser.Browser, pages: dict[str, Path]) -> None:
    chromium.open(pages["stale_read"])
    history = load(pages["stale_read"].parent / "history.jsonl")
    wanted = sum(op.f == "cas" and op.type == "info" for op in history.ops())
    chromium.keys("f:cas info", into="#query")
    expected = f"{wanted:,} of {history.op_count:,} match"
    script = "return document.getElementById('matches').textContent"
    assert chromium.eventually(lambda told: told == expected, script) == expected
    rows = chromium.run("return document.querySelectorAll('#table-rows tr').length")
    assert rows == min(100, wanted)


def test_the_table_says_what_the_history_says(
    chromium: browser.Browser, pages: dict[str, Path]
) -> None:
    chromium.open(pages["stale_read"])
    history = load(pages["stale_read"].parent / "history.jsonl")
    rows = chromium.run(
        "return [...document.querySelectorAll('#table-rows tr')].map("
        "(row) => [...row.cells].map((cell) => cell.textContent))"
    )
    for row, op in zip(rows, history.ops()):
        assert row[0] == str(op.invoke) and row[3] == str(op.process) and row[5] == op.f
        assert row[1] == f"{op.invoke_ns // 1000 / 1e6:.6f}" and row[6] == op.key
        assert row[9] == op.type


def test_the_theme_button_and_the_anchor(chromium: browser.Browser, pages: dict[str, Path]) -> None:
    chromium.open(pages["stale_read"], anchor="#f1")
    before = chromium.run("return getComputedStyle(document.body).backgroundColor")
    chromium.run("document.getElementById('theme').click()")
    after = chromium.run("return getComputedStyle(document.body).backgroundColor")
    assert before != after and chromium.run(CONTRAST) == []
    chromium.run("document.getElementById('theme').click()")
    chromium.run("document.querySelector('.jump').click()")
    assert chromium.log() == []

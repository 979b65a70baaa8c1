"""Every form of the report of every canned run, byte for byte.

Goal: nothing in a report changes unnoticed, and equal inputs give equal bytes. Method: each canned
run is rendered and compared with ``golden/<run>.*``. The page's style sheet and script are cut out
(they have files of their own), and the packed operations are unpacked to text, since a compressor's
bytes may differ between builds of zlib while what they mean does not.
"""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import canned
import pytest

import reports
from reports.embed import unpack
from reports.terminal import terminal_summary

GOLDEN = Path(__file__).parent / "golden"


def normal(html: str) -> str:
    """A page without its assets, with its data readable and cut where it is long."""
    html = re.sub(r"<style>.*?</style>", "<style></style>", html, flags=re.S)
    html = re.sub(r"<script>.*?</script>", "<script></script>", html, flags=re.S)
    html = re.sub(r"sha256-[A-Za-z0-9+/=]+", "sha256-", html)
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)
    assert found is not None
    data = json.loads(found.group(1))
    if data.get("blob"):
        raw = unpack(data.pop("blob"))
        tail = raw[sum(size for _, size in data["columns"]) :]
        data["tables"] = json.loads(tail)
        data["bytes"] = raw[: len(raw) - len(tail)].hex()[:400]
        for name, table in data["tables"].items():
            data["tables"][name] = table[:12]
    for name in ("completed", "quantiles", "inFlight"):
        data.get("performance", {}).pop(name, None)
    text = json.dumps(data, indent=1, ensure_ascii=True)
    return html[: found.start(1)] + text + html[found.end(1) :]


@pytest.mark.parametrize("name", canned.RUNS)
def test_every_form_is_as_approved(name: str, tmp_path: Path, golden) -> None:
    run = canned.RUNS[name](tmp_path / "register" / name)
    page = reports.render(run).read_bytes().decode("utf-8")
    golden(GOLDEN / f"{name}.html", normal(page))
    golden(GOLDEN / f"{name}.md", (run / "summary.md").read_text("utf-8"))
    golden(GOLDEN / f"{name}.xml", (run / "junit.xml").read_text("utf-8"))
    golden(GOLDEN / f"{name}.txt", terminal_summary(run, width=100) + "\n")


@pytest.mark.parametrize("name", canned.RUNS)
def test_equal_inputs_give_equal_bytes(name: str, tmp_path: Path) -> None:
    first = canned.RUNS[name](tmp_path / "a" / "register" / name)
    second = canned.RUNS[name](tmp_path / "b" / "register" / name)
    assert reports.render(first).read_bytes() == reports.render(second).read_bytes()
    again = reports.render(first).read_bytes()
    assert again == (second / "report.html").read_bytes(), "a second rendering changed the page"


@pytest.mark.parametrize("name", canned.RUNS)
def test_junit_is_well_formed_and_counts_what_it_holds(name: str, tmp_path: Path) -> None:
    run = canned.RUNS[name](tmp_path / "register" / name)
    reports.render(run)
    suite = ElementTree.parse(run / "junit.xml").getroot()[0]
    cases = suite.findall("testcase")
    assert int(suite.get("tests", "")) == len(cases) > 0
    assert int(suite.get("failures", "")) == len(suite.findall("testcase/failure"))
    assert int(suite.get("errors", "")) == len(suite.findall("testcase/error"))
    good = name in ("valid", "weak", "slow_return")
    assert good == (not suite.findall("testcase/failure") and not suite.findall("testcase/error"))

"""Goal: what docs/checkers.md says is so: its examples run, its names and options exist."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

from checkers.checker_choice import checkers_by_name, options_of
from checkers.history.loading import FORMATS

PAGE = Path(__file__).parents[2] / "docs" / "checkers.md"


def test_the_examples_run() -> None:
    text = re.sub(r"(?m)^```(python)?$", "", PAGE.read_text())
    example = doctest.DocTestParser().get_doctest(text, {}, "checkers.md", str(PAGE), 0)
    told: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    result = runner.run(example, out=told.append)
    assert result.attempted > 25 and not result.failed, "".join(told)


def test_every_checker_option_and_format_is_named() -> None:
    text = PAGE.read_text()
    solved = {"transactional-causal": "causal"}
    for name in checkers_by_name():
        assert solved.get(name, name) in text, name
        for option in options_of(name):
            if option not in ("level", "priority", "files", "consistency_model"):
                assert f"`{option}`" in text or f"{option}=" in text, (name, option)
    for name in FORMATS:
        assert f"`{name}`" in text, name

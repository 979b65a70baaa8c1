"""Compiled functions: kept on disk where there is a place, and right where there is none."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("numba", reason="numba is not installed, so nothing is compiled")


def test_a_function_of_no_file_has_no_place_for_its_machine_code_and_runs() -> None:
    from numba import njit

    from checkers.machine_code import compiled

    made: dict[str, Any] = {}
    exec("def twice(number):\n    return 2 * number\n", made)
    with pytest.raises(RuntimeError, match="cache"):
        njit(cache=True)(made["twice"])
    assert compiled(made["twice"])(21) == 42


def test_machine_code_is_kept() -> None:
    from checkers.linearizability.kernel import squeeze

    assert str(squeeze.stats.cache_path).endswith("__pycache__")  # type: ignore[attr-defined]

"""Goal: machine code is made once on a machine, kept, made anew where it is torn, and never counts.

Method: a small kernel in processes of their own, each with a cache directory made for it; the true
kernels in the slow test.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import small_kernel

from checkers.core.columns import record

HERE = str(Path(__file__).parent)

#: Uses the kernel within a budget of next to nothing, and says what became of it.
USE = """
import sys, time
sys.path.insert(0, sys.argv[1])
from checkers.core import jit
from checkers.core.budget import Budget, Meter
told = []
jit.progress = told.append
here = jit._warm
jit._warm = lambda kernel: (here(kernel), told.append("warm"))
import numba
meter = Meter(Budget(time_s=60.0))
began_s = time.monotonic()
jit.ready("small_kernel:warm")
waited_s = time.monotonic() - began_s
import numpy, small_kernel
assert small_kernel.total(numpy.arange(3)) == 6
seconds = [value for value in told if value != "warm"]
misses = jit.misses()
print(bool(seconds), seconds[-1:] == [-1.0], misses, meter.elapsed_s < 0.5 * waited_s)
"""


def used(cache: Path, **more: str) -> str:
    env = {**os.environ, "NUMBA_CACHE_DIR": str(cache), **more}
    command = [sys.executable, "-c", USE, HERE]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


MADE, FOUND, MADE_HERE = "True True 0 True", "False False 0 False", "True True 1 True"


def test_a_record_has_the_fields_of_its_class_and_kernels_change_it_in_place() -> None:
    class Counts:
        rows: int
        nodes: int

    counts = record(Counts)
    assert (counts.rows, counts.nodes) == (0, 0)
    small_kernel.count_up(counts)
    assert (counts.rows, counts.nodes) == (0, 3)
    assert record(Counts).nodes == 0


def test_it_is_made_by_another_process_kept_and_found(tmp_path: Path) -> None:
    assert used(tmp_path) == MADE
    assert used(tmp_path) == FOUND


@pytest.mark.parametrize(("ending", "left"), [(".nbi", 0), (".nbi", 200), (".nbc", 200)])
def test_a_torn_file_is_made_anew(tmp_path: Path, ending: str, left: int) -> None:
    used(tmp_path)
    (torn,) = tmp_path.rglob("*" + ending)
    torn.write_bytes(torn.read_bytes()[:left])
    assert used(tmp_path) == MADE
    assert used(tmp_path) == FOUND


def test_where_nothing_can_be_kept_it_is_made_in_the_process(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_text("no directory")
    program = tmp_path / "site" / "small_kernel.py"
    program.parent.mkdir()
    program.write_text(Path(HERE, "small_kernel.py").read_text())
    # neither beside the module nor in the home directory
    (program.parent / "__pycache__").write_text("no directory")
    env = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"}
    env |= {"HOME": str(place), "XDG_CACHE_HOME": str(place)}
    command = [sys.executable, "-c", USE, str(program.parent)]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == MADE_HERE


def test_of_several_processes_one_makes_it(tmp_path: Path) -> None:
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", USE, HERE]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, env=env, text=True) for _ in range(3)]
    assert {run.communicate()[0].strip() for run in runs} <= {MADE, FOUND}
    assert all(run.returncode == 0 for run in runs)
    assert not list(tmp_path.rglob("*.tmp.*"))


def test_a_function_of_no_file_has_no_place_for_its_machine_code_and_runs() -> None:
    from checkers.core.jit import compiled

    scope: dict[str, object] = {}
    exec(compile("def twice(x):\n    return 2 * x\n", "no file at all", "exec"), scope)
    assert compiled(scope["twice"])(21) == 42  # type: ignore[type-var, operator]


def test_machine_code_is_kept() -> None:
    from checkers.linearizability.search.just_in_time_kernel import squeeze

    assert Path(squeeze.stats.cache_path).is_dir()  # type: ignore[attr-defined]


def test_the_doctor_makes_it_ahead(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from checkers.core import jit
    from harness.cli import main

    kernel = "small_kernel:warm"
    monkeypatch.setattr(jit, "KERNELS", {kernel: kernel})
    monkeypatch.setattr(jit, "_ready", set())
    assert main(["doctor", "--compile"]) == 0
    assert f"compiled {kernel}: " in capsys.readouterr().out
    assert jit.at_hand(kernel)


#: Runs what needs a kernel in earnest, and counts what had still to be compiled.
EARNEST = """
import random, sys
sys.path[:0] = [sys.argv[1], sys.argv[2]]
from checkers.core import jit
jit.compile_all()
before = jit.misses()
from executions import execution, history_of
from checkers.isolation.serializability.serial import check_serial
from checkers import check, models
from checkers.history.importers.edn_scan import Scanner
from lin_histories import register_history
rng = random.Random(1)
for level in ("serializable", "snapshot-isolation"):
    log = execution(rng, sessions=20, each=120, keys=200, operations=6, reads=0.5, level=level)
    assert check_serial(history_of(log), level).verdict.value == "valid"
scanner = Scanner()
scanner.scan('{:type :info, :process 1, :f :txn, :value [[:r "x" nil]], :error {:a [1]}}\\n' * 9)
assert scanner.good.all()
history = register_history(6000, clients=40, unknown=0.05, cas=0.3, writes=0.4, domain=5)
check(history, models.cas_register())
print("numba" in sys.modules, jit.misses() - before)
"""


def test_what_is_compiled_ahead_is_all_that_is_used() -> None:
    command = [sys.executable, "-c", EARNEST, HERE, str(Path(HERE).parent / "checkers_txn")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.strip() == "True 0", done.stdout + done.stderr

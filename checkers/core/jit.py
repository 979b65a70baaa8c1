"""Functions compiled to machine code, with numba: made once on a machine, and never on a budget.

Inner loops over millions of rows ("kernels") are written in the small part of Python that numba
compiles. That takes many seconds, so the machine code is kept on disk, next to the module or in the
user's cache directory, and found there by the next process. A torn or unreadable file is
made anew. Without a place to keep it (a read-only installation and no home directory) every process
compiles for itself, which is slow and right; the environment
variable ``NUMBA_CACHE_DIR`` names another place.

Before a kernel is used :func:`ready` is called. It loads machine code that is kept. A kernel
without it is compiled by another process, so that the compiler's memory is not ours. Meanwhile the
clock of every budget stands still and :data:`progress` is called. If several processes need one
kernel, one compiles and the others wait. ``harness doctor --compile`` and ``python -m
checkers.core.jit`` do it ahead of use.

Importing numba takes a third of a second: modules of kernels are imported inside the functions that
have decided that the work is large enough to pay for that, never by ``import checkers``, and this
module imports it when it first decorates a function.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import importlib.util
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, TypeVar

from checkers.core.budget import not_counted

F = TypeVar("F", bound=Callable[..., Any])

#: The kernels by name: where a function is that calls all of one with the types used.
KERNELS = {
    "saturation": "checkers.isolation.serializability.saturation:warm",
    "just-in-time": "checkers.linearizability.search.just_in_time_compiled:warm",
    "edn": "checkers.history.importers.edn_scan:warm",
}

#: Called with how many seconds compiling has taken so far, and -1 when it is done.
progress: Callable[[float], None] | None = None

_ready: set[str] = set()
_plain: dict[str, ModuleType] = {}
_interpreting = False
_lock = threading.RLock()
_kept_only = False
_nowhere = False
_misses = 0


class _NotKept(Exception):
    """The machine code of a function is not on disk."""


def compiled(function: F) -> F:
    """Compile a function at its first call, once for every combination of argument types.

    It runs without the interpreter's lock: what it is given must not change meanwhile.

    Args:
        function: in the part of Python that numba compiles; compiled functions may call each other.
    """
    global _nowhere
    if _interpreting:
        return function
    made = _numba().njit(nogil=True, no_cfunc_wrapper=True)(function)
    caching: Any = importlib.import_module("numba.core.caching")
    try:
        made._cache = _forgiving(caching.FunctionCache(function))
    except RuntimeError:  # no directory to keep it in
        made._cache, _nowhere = _forgiving(caching.NullCache()), True
    found: F = made
    return found


def inner(function: F) -> F:
    """The same for a function that only compiled ones call, which takes less to compile."""
    if _interpreting:
        return function
    made: F = _numba().njit(nogil=True, no_cfunc_wrapper=True, no_cpython_wrapper=True)(function)
    return made


def interpreted(module: str) -> ModuleType:
    """A module of kernels whose functions are left as they are written, for the interpreter.

    For work that is too small to be worth loading machine code, and where there is none.

    Args:
        module: its full name; it imports no other module of kernels.
    """
    global _interpreting
    with _lock:
        if module not in _plain:
            spec = importlib.util.find_spec(module)
            assert spec is not None and spec.loader is not None, f"there is no module {module}"
            made = importlib.util.module_from_spec(spec)
            _interpreting = True
            try:
                spec.loader.exec_module(made)
            finally:
                _interpreting = False
            _plain[module] = made
        return _plain[module]


def _numba() -> Any:
    return importlib.import_module("numba")


def _forgiving(cache: Any) -> Any:
    """numba's cache of a function's machine code, for which a broken file is a missing one."""
    load, save = cache.load_overload, cache.save_overload

    def load_kept(sig: Any, target_context: Any) -> Any:
        global _misses
        found = None
        try:
            found = load(sig, target_context)
        except Exception:  # a torn file may raise anything
            with contextlib.suppress(OSError):
                cache.flush()
        if found is None and _kept_only:
            raise _NotKept
        _misses += found is None
        return found

    def save_kept(sig: Any, data: Any) -> None:
        with contextlib.suppress(OSError):  # a full disk, say
            save(sig, data)

    cache.load_overload, cache.save_overload = load_kept, save_kept
    return cache


def misses() -> int:
    """How many functions, types counted apart, this process compiled rather than found."""
    return _misses


def installed() -> bool:
    """Whether there is a compiler at all."""
    return importlib.util.find_spec("numba") is not None


def at_hand(kernel: str) -> bool:
    """Whether a kernel can be used at once: it is loaded, or on disk and loaded now.

    Args:
        kernel: one of :data:`KERNELS`, or ``module:function`` of one's own.

    Raises:
        ImportError: numba is not installed.
    """
    global _kept_only
    with _lock:
        if kernel in _ready:
            return True
        _kept_only = True
        try:
            _warm(kernel)
        except _NotKept:
            return False
        finally:
            _kept_only = False
        _ready.add(kernel)
        return True


def ready(kernel: str) -> None:
    """Have a kernel compiled, if that was never done here; budgets' clocks stand still meanwhile.

    Args:
        kernel: one of :data:`KERNELS`, or ``module:function`` of one's own.

    Raises:
        ImportError: numba is not installed.
    """
    with _lock:
        if at_hand(kernel):
            return
        with not_counted(), _reporting_progress():
            if not _nowhere:
                _elsewhere(kernel)
            if _nowhere or not at_hand(kernel):  # or no process can be started
                _warm(kernel)
                _ready.add(kernel)


def make(kernel: str) -> None:
    """Compile a kernel in this process and keep it, unless another process is through before."""
    import tempfile

    lock = os.path.join(tempfile.gettempdir(), f"splitbrain-compiles-{os.getuid()}-{kernel}.lock")
    flags = os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW
    with contextlib.suppress(OSError), os.fdopen(os.open(lock, flags, 0o600), "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not at_hand(kernel):
            _warm(kernel)
        return
    _warm(kernel)


def _warm(kernel: str) -> None:
    module, _, attribute = KERNELS.get(kernel, kernel).partition(":")
    getattr(importlib.import_module(module), attribute)()


def _elsewhere(kernel: str) -> None:
    """Compile in another process; whether that worked is seen by what it kept."""
    paths = os.pathsep.join(path for path in sys.path if path)
    code = f"from checkers.core.jit import make; make({kernel!r})"
    with contextlib.suppress(OSError):
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": paths},
        )
        try:
            process.wait()
        finally:
            process.kill()
            process.wait()


@contextlib.contextmanager
def _reporting_progress() -> Iterator[None]:
    """Report the progress every second, from a thread of its own."""
    if progress is None:
        yield
        return
    tell, began_s, over = progress, time.monotonic(), threading.Event()

    def tick() -> None:
        tell(0.0)
        while not over.wait(1.0):
            tell(time.monotonic() - began_s)

    thread = threading.Thread(target=tick, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        tell(-1.0)


def compile_all(report: Callable[[str, float], None] | None = None) -> None:
    """Have every kernel compiled and kept.

    Args:
        report: called after each kernel with its name and the seconds it took.
    """
    for kernel in KERNELS:
        began_s = time.monotonic()
        ready(kernel)
        if report is not None:
            report(kernel, time.monotonic() - began_s)


if __name__ == "__main__":
    from checkers.core.jit import compile_all as _compile_all

    _compile_all(lambda kernel, spent_s: print(f"{kernel}: {spent_s:.1f} s", flush=True))

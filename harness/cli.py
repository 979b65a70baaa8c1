"""The command line: ``harness COMMAND``.

Commands are functions in :mod:`harness.commands`, imported when used, so that ``--help`` is quick.
This module parses, and turns each error into one sentence and the right exit code:

    0 valid   1 violation found   2 unknown   3 infrastructure failed   254 usage   255 a bug

A traceback is never shown; it is in a log whose path is. Output that cannot be written changes no
code (:mod:`harness.streams`).
"""

from __future__ import annotations

import errno
import os
import re
import resource
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import (
    EXIT_BUG,
    EXIT_INFRASTRUCTURE,
    EXIT_USAGE,
    EXIT_VALID,
    STORE_ERRORS,
    HarnessError,
    OfARun,
    UsageError,
    UserCodeError,
)
from harness.streams import open_streams

if TYPE_CHECKING:
    import cyclopts

_ABOUT = """\
Break distributed systems on purpose, and prove what broke.

Exit codes: 0 valid, 1 violation found, 2 unknown, 3 infrastructure failed, 254 usage, 255 bug."""

_EXAMPLES = {
    "": """\
Examples:
  harness test --nemesis partition             the reference cluster, real processes
  harness test --env sim --nemesis partition,kill,pause,clock --seed 7
  harness test --ablate A30 --nemesis partition:primaries    a broken variant: finds it
  harness check history.edn --model cas-register
  harness COMMAND --help                       flags and examples of a command""",
    "test": """\
Examples:
  harness test --nemesis partition
  harness test --nemesis kill:primaries,clock --nodes 5 --time-limit 60 --rate 500
  harness test --env sim --nemesis partition,kill,pause,clock --seed 7 --test-count 20
  harness test --nemesis kill --fault-duration 2s..4s --concurrency 2n --time-limit 1m30s
  harness test --db etcd --nemesis partition,pause
  harness test --db test_mykv:MyKV --client test_mykv:KVClient --workload test_mykv:tickets
  harness test --workload register --workload-option cas=0 --keys 50""",
    "check": """\
Examples:
  harness check history.edn                             the model is inferred, and named
  harness check store/latest                            a run's history
  harness check histories/ -m cas-register -j 4         a folder, in parallel
  harness check t.edn -m rw-register --consistency-model snapshot-isolation
  harness check t.edn -m rw-register --option linearizable_keys=true
  harness check t.edn -m long-fork --option group_size=3
  harness check h.jsonl.gz --budget 10s,2GB --json      one JSON object per file
  harness check histories/ --report pages/              a page per file, and an index
  harness check h.edn -m my_model:tickets               your own model or checker
Options of checkers by name: docs/checkers.md; a wrong one is answered with those there are.""",
    "report": """\
Examples:
  harness report
  harness report store/reference-register/20261122T180000Z-7""",
    "replay": """\
Examples:
  harness replay
  harness replay store/reference-register/20261122T180000Z-7
  harness replay latest --trust-module test_mykv        a run of your own code""",
    "shrink": """\
Examples:
  harness shrink
  harness shrink store/reference-register/20261122T180000Z-7 --time-limit 120""",
    "list": """\
Examples:
  harness list
  harness list nemeses
  harness list nemeses --env netns
  harness list workloads -v         what each is, its options and operations""",
    "compare": """\
Examples:
  harness compare --variant raft --variant raft+lease-reads --variant raft+A30 --runs 20
  harness compare --variant raft --variant raft+lease-reads --workload register,append \\
      --nemesis partition,kill --nemesis pause
  harness compare --variant 'old: image=mykv:1.2' --variant 'new: image=mykv:1.3' --env docker \\
      --db mykv:MyKV --fail-if 'p99 > 1.2 * baseline'
  harness compare --resume store/compare/20261122T180000Z-7""",
    "patterns": """\
Examples:
  harness patterns                  the catalogue, one line a pattern
  harness patterns lease            one explained; a number, a name or an ablation will do
  harness patterns --run            every ablation's schedule, with and without it
  harness patterns --run A30""",
    "cluster": """\
Examples:
  harness cluster up                                three nodes on loopback, in ./playground
  harness cluster up --nodes 5 --dir five --port 7201
  harness cluster up --role leaderless --nodes 5    any node takes writes; also data, paxos, gossip
  harness cluster status
  harness cluster down
  harness cluster certs --dir certs --nodes n1,n2,n3   a test authority, for mutual TLS""",
    "explore": """\
Examples:
  harness explore --seeds 1000
  harness explore --ablate A28a --seeds 50 --stop
  harness explore --first-seed 4711 --seeds 1""",
    "heal": """\
Examples:
  harness heal
  harness heal latest
  harness heal latest --ssh-host admin@db1 --ssh-host admin@db2""",
    "doctor": """\
Examples:
  harness doctor
  harness doctor --compile        compile the checkers' inner loops ahead of the first check""",
    "serve": """\
Examples:
  harness serve
  harness serve --port 8080 --store store""",
}

#: A sentence is cut in its middle beyond this: it may show a value of any size.
SENTENCE_CHARS_MAX = 4000

#: command -> (where it is, what it does)
_COMMANDS = {
    "test": ("harness.commands.test:test", "Run a test: workload, faults, verdict, report."),
    "check": ("harness.commands.check:check", "Check history files of any known format."),
    "report": ("harness.commands.recorded:report", "Write the report of a run again."),
    "replay": ("harness.commands.recorded:replay", "Run a recorded run again."),
    "shrink": ("harness.commands.recorded:shrink", "Find the smallest test that still fails."),
    "explore": ("harness.commands.explore:explore", "Run many seeds in simulation."),
    "compare": ("harness.commands.compare:compare", "Variants side by side, with statistics."),
    "cluster": ("harness.commands.cluster:cluster", "Start a cluster to play with; stop it."),
    "patterns": ("harness.commands.patterns:patterns", "The pattern catalogue; break each one."),
    "list": ("harness.commands.listing:list_", "Names of databases, workloads, nemeses, ..."),
    "heal": ("harness.commands.looking:heal", "Remove what runs left behind."),
    "doctor": ("harness.commands.looking:doctor", "What this machine can do, and what is missing."),
    "serve": ("harness.commands.looking:serve", "A local web page over all runs."),
}


def make_app() -> cyclopts.App:
    """The application: what parses, and what shows help."""
    import cyclopts

    app = cyclopts.App(
        name="harness",
        help=_ABOUT,
        help_format="plaintext",
        help_epilogue=_EXAMPLES[""],
        version=_version,
        suppress_keyboard_interrupt=False,
    )
    for name, (where, about) in _COMMANDS.items():
        app.command(
            where, name=name, help=about, help_epilogue=_EXAMPLES[name], help_format="plaintext"
        )
    return app


def _version() -> str:
    from importlib import metadata

    try:
        return metadata.version("splitbrain")
    except metadata.PackageNotFoundError:
        return "0 (not installed)"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code.

    Args:
        argv: words after the program's name; None for the process's own.
    """
    if argv is None:
        open_streams()
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        _import_from_here(words)
        return _dispatch(words or ["--help"])
    except UsageError as error:
        return _complain(str(error), EXIT_USAGE)
    except HarnessError as error:
        return _complain(_with_place(error), error.exit_code, log=_log_of(error))
    except KeyboardInterrupt:
        return _complain("interrupted", EXIT_INFRASTRUCTURE)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            return _complain(_too_many_files(), EXIT_INFRASTRUCTURE, log=_log_of(error))
        if error.errno not in STORE_ERRORS:
            return _bug(error)
        where = f" at {error.filename}" if error.filename else ""
        return _complain(
            f"{error.strerror}{where}; nothing is wrong with what was checked", EXIT_INFRASTRUCTURE
        )
    except Exception as error:  # the last line of defence: a sentence and an exit code for it
        # Names of other packages' errors, so that nothing is imported to compare with them.
        if type(error).__name__ in ("HistoryError", "UnknownAblation"):
            return _complain(str(error), EXIT_USAGE)
        return _bug(error)


def _too_many_files() -> str:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return f"too many open files: {limit} are allowed; allow more with `ulimit -n 4096`"


def _import_from_here(words: list[str]) -> None:
    """Let a user's own ``module:attribute`` be found in the current directory, if one is named.

    Nothing else is imported from there: the directory may be a stranger's, with a ``jinja2.py``.
    """
    try:
        here = os.getcwd()
    except FileNotFoundError:
        raise UsageError(
            "the current directory does not exist any more; cd to one that does"
        ) from None
    if here not in sys.path and any(_PLACE.search(word) for word in words):
        sys.path.append(here)


#: a ``module:attribute`` somewhere in a word
_PLACE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]")


def _dispatch(words: list[str]) -> int:
    if words[0] == "check":
        from harness.commands import checking

        options = checking.plain(words[1:])
        if options is not None:
            return checking.run(**options)
    import cyclopts

    try:
        result = make_app()(
            words, exit_on_error=False, print_error=False, result_action="return_value"
        )
    except cyclopts.CycloptsError as error:
        raise UsageError(_sentence(error, words)) from error
    return result if isinstance(result, int) else EXIT_VALID


def _sentence(error: cyclopts.CycloptsError, words: list[str]) -> str:
    command = words[0] if words and words[0] in _COMMANDS else ""
    text = " ".join(str(error).split()).split(" Available commands:")[0].rstrip(".")
    if text:
        text = text[0].lower() + text[1:]
    help_command = " ".join(["harness", *filter(None, [command]), "--help"])
    return f"{text} (`{help_command}` shows what there is)"


def _complain(sentence: str, code: int, *, log: Path | None = None) -> int:
    if len(sentence) > SENTENCE_CHARS_MAX:
        half = SENTENCE_CHARS_MAX // 2
        sentence = f"{sentence[:half]} ... {sentence[-half:]}"
    # A sentence may quote what a stranger's file says, and a terminal obeys control characters.
    printable = (c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in sentence)
    print(f"harness: {''.join(printable)}", file=sys.stderr)
    if log is not None:
        print(f"log: {log}", file=sys.stderr)
    return code


def _with_place(error: HarnessError) -> str:
    """The sentence; for user code with the file and line that raised."""
    cause = error.__cause__
    if not isinstance(error, UserCodeError) or cause is None or cause.__traceback__ is None:
        return str(error)
    last = traceback.extract_tb(cause.__traceback__)[-1]
    return f"{error} ({last.filename}, line {last.lineno})"


def _log_of(error: BaseException) -> Path | None:
    return error.run_dir / "harness.log" if isinstance(error, OfARun) else None


def _bug(error: Exception) -> int:
    """Report a bug of the harness, with its traceback in a log."""
    log = _log_of(error)
    if log is None:
        handle, name = tempfile.mkstemp(prefix="harness-", suffix=".log")
        os.close(handle)
        log = Path(name)
    with open(log, "a", encoding="utf-8") as file:
        file.write("".join(traceback.format_exception(error)))
    said = " ".join(str(error).split())
    return _complain(
        f"a bug in the harness, not in your system: {type(error).__name__}: {said}; please report "
        "it with the log",
        EXIT_BUG,
        log=log,
    )


if __name__ == "__main__":
    sys.exit(main())

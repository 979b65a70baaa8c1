"""``harness check`` as the parser of all commands knows it; :mod:`.checking` does what it says."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from harness.commands import checking


def _flag(parameter: str) -> Parameter:
    flag = checking.FLAGS[parameter]
    bare = flag.switch or flag.repeated
    return Parameter(name=flag.names, help=flag.help, negative=() if bare else None)


def check(
    *files: Annotated[str, Parameter(help="History files, run directories, or folders of files.")],
    model: Annotated[str | None, _flag("model")] = None,
    consistency_model: Annotated[str | None, _flag("consistency_model")] = None,
    format: Annotated[str | None, _flag("format")] = None,
    option: Annotated[list[str] | None, _flag("option")] = None,
    budget: Annotated[str, _flag("budget")] = checking.BUDGET,
    jobs: Annotated[int | None, _flag("jobs")] = None,
    json: Annotated[bool, _flag("json")] = False,
    report: Annotated[str | None, _flag("report")] = None,
) -> int:
    """Check history files: ours, Jepsen's, Elle's, Knossos', Porcupine's, etcd's, and more.

    Files may be compressed with gzip, bzip2 or xz. A file that is cut in its last operation is
    checked as far as it goes, which a note says. The verdict of several files is the worst. Exit
    codes: 0 valid, 1 violation, 2 unknown; of files that cannot be checked at all 254, or 3 where
    the machine is why.
    """
    return checking.run(
        files,
        model=model,
        consistency_model=consistency_model,
        format=format,
        option=option,
        budget=budget,
        jobs=jobs,
        json=json,
        report=report,
    )

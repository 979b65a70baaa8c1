"""The results as JUnit XML, which every continuous integration can read.

One suite per run, one case per checker (parts of a composition are cases of their own). INVALID is
a failure; UNKNOWN and a run without results are errors, since neither may pass for success. The
format's common subset is used: ``testsuites/testsuite/testcase/failure|error|system-out``.

For :mod:`reports.writing`.
"""

from __future__ import annotations

from xml.sax.saxutils import escape, quoteattr

from checkers.core.verdict import Result, Verdict
from reports import overview
from reports.findings import witness_ops
from reports.run_directory import Run
from reports.table import op_table
from reports.wording import clip, one_line, plain

#: Values may be of any size; a sentence and a text are cut here.
SENTENCE_CHARS_MAX = 2000
TEXT_CHARS_MAX = 50_000


def junit_xml(run: Run) -> str:
    """The document of a run."""
    leaves = [leaf for result in run.results for leaf in _leaves(result, "")]
    cases = [_case(run, name, result) for name, result in leaves]
    failures = sum(result.verdict is Verdict.INVALID for _, result in leaves)
    errors = sum(result.verdict is Verdict.UNKNOWN for _, result in leaves)
    worst = Verdict.merge_all(result.verdict for _, result in leaves)
    if run.verdict is not worst or not leaves:
        # The run's own verdict is firmer or more doubtful than its checkers': a case says so.
        said = overview.banner(run)
        cases.append(_whole(run, said))
        failures += run.verdict is Verdict.INVALID
        errors += run.verdict in (None, Verdict.UNKNOWN)
    took = sum(result.elapsed_s for result in run.results)
    properties = "".join(
        f"    <property name={_attribute(name)} value={_attribute(text)}/>\n"
        for name, text in [*overview.facts(run), ("replay", run.replay)]
        if text
    )
    counts = f'tests="{len(cases)}" failures="{failures}" errors="{errors}" time="{took:.3f}"'
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<testsuites name="splitbrain" {counts}>\n'
        f"  <testsuite name={_attribute(run.name)} {counts}>\n"
        f"  <properties>\n{properties}  </properties>\n"
        f"{''.join(cases)}"
        "  </testsuite>\n</testsuites>\n"
    )


def _leaves(result: Result, prefix: str) -> list[tuple[str, Result]]:
    """The checkers that checked by themselves, with their path in the composition."""
    name = f"{prefix}{one_line(result.checker)}"
    if result.parts and not result.findings:
        return [leaf for part in result.parts for leaf in _leaves(part, f"{name}/")]
    return [(name, result)]


def _case(run: Run, name: str, result: Result) -> str:
    body = ""
    if result.verdict is Verdict.INVALID:
        findings = result.all_findings()
        first = findings[0] if findings else None
        message = (first.sentence or first.title) if first else result.reason
        kind = first.kind if first else "violation"
        parts = [one_line(message, limit=SENTENCE_CHARS_MAX)]
        for finding in findings[:3]:
            ops = witness_ops(run.history, finding)
            text = op_table(ops, positions=run.positions) if ops else finding.sentence
            title = one_line(finding.title, limit=SENTENCE_CHARS_MAX)
            parts.append(f"{title}\n{clip(text, TEXT_CHARS_MAX)}")
        parts.append(f"Run it again: {run.replay}" if run.replay else "")
        text = "\n\n".join(part for part in parts if part)
        body = _outcome("failure", kind, message, text)
    elif result.verdict is Verdict.UNKNOWN:
        body = _outcome("error", "unknown", result.reason or "unknown", result.reason)
    elif result.reason:
        body = f"      <system-out>{_text(clip(result.reason, TEXT_CHARS_MAX))}</system-out>\n"
    opening = (
        f"    <testcase classname={_attribute(run.name)} name={_attribute(name)} "
        f'time="{result.elapsed_s:.3f}"'
    )
    return f"{opening}>\n{body}    </testcase>\n" if body else f"{opening}/>\n"


def _whole(run: Run, said: overview.Banner) -> str:
    body = ""
    if run.verdict is Verdict.INVALID:
        body = _outcome("failure", "invalid", said.sentence, said.sentence)
    elif run.verdict is not Verdict.VALID:
        text = "\n".join([said.sentence, *run.missing])
        body = _outcome("error", said.css, said.sentence, text)
    opening = f'    <testcase classname={_attribute(run.name)} name="run" time="0.000"'
    return f"{opening}>\n{body}    </testcase>\n" if body else f"{opening}/>\n"


def _outcome(tag: str, kind: str, message: str, text: str) -> str:
    return (
        f"      <{tag} type={_attribute(kind)} message={_attribute(one_line(message, limit=500))}>"
        f"{_text(clip(text, TEXT_CHARS_MAX))}</{tag}>\n"
    )


def _attribute(text: str) -> str:
    return quoteattr(one_line(text, limit=2000))


def _text(text: str) -> str:
    return escape(plain(text))

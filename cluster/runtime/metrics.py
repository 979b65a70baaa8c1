"""Prometheus text of a node's measurements (:mod:`cluster.measures`)."""

from __future__ import annotations

from collections.abc import Mapping

from cluster.measures import Histogram

__all__ = ["Histogram", "metrics_text"]


def metrics_text(
    *,
    gauges: Mapping[str, float],
    counters: Mapping[str, float],
    histograms: Mapping[str, Histogram],
    groups: Mapping[str, Mapping[str, float]] | None = None,
) -> str:
    """Everything in Prometheus text format, names prefixed with ``splitbrain_``.

    Args:
        gauges: values that go up and down, by name.
        counters: values that only grow.
        histograms: histograms.
        groups: gauges of each group, by name and then by group.
    """
    lines: list[str] = []
    for kind, values in (("gauge", gauges), ("counter", counters)):
        for name, value in sorted(values.items()):
            full = f"splitbrain_{name}" + ("_total" if kind == "counter" else "")
            lines += [f"# TYPE {full} {kind}", f"{full} {value:g}"]
    for name, by_group in sorted((groups or {}).items()):
        full = f"splitbrain_group_{name}"
        lines.append(f"# TYPE {full} gauge")
        lines += [f'{full}{{group="{group}"}} {by_group[group]:g}' for group in sorted(by_group)]
    for name, histogram in sorted(histograms.items()):
        lines.extend(histogram.lines(f"splitbrain_{name}"))
    return "\n".join(lines) + "\n"

"""Generators: what the clients do, as pure values that combine.

    from workloads import generator as gen

    gen.mix(gen.reads(10), gen.writes(10)).rate(200).time_limit(30)
    gen.phases(gen.writes(3).limit(9), gen.each_process(gen.reads(3)).once_through())

See :mod:`workloads.generator.base` for what a generator is, :mod:`workloads.generator.sources` for
what may be written where one is expected.
"""

from __future__ import annotations

from workloads.generator.base import (
    PENDING,
    SECOND_NS,
    Context,
    Generator,
    GeneratorError,
    GeneratorLike,
    Op,
    Pending,
    Step,
)
from workloads.generator.combinators import (
    any_of,
    f_map,
    filter_ops,
    flip_flop,
    limit,
    map_ops,
    mix,
    once,
    process_limit,
    until_ok,
)
from workloads.generator.simulate import imperfect, perfect, quick, simulate
from workloads.generator.sources import (
    cas,
    cycle,
    key_names,
    lift,
    log,
    once_through,
    op,
    reads,
    repeat,
    seq,
    sleep,
    wants_updates,
    writes,
)
from workloads.generator.threads import (
    clients,
    each_process,
    each_thread,
    fault,
    faults_named,
    nemesis,
    on_threads,
    phases,
    reserve,
    synchronize,
    then,
)
from workloads.generator.timing import delay, rate, stagger, time_limit

any = any_of
filter = filter_ops
map = map_ops

__all__ = [
    "Context", "Generator", "GeneratorError", "GeneratorLike", "Op", "PENDING", "Pending",
    "SECOND_NS", "Step", "any", "any_of", "cas", "clients", "cycle", "delay", "each_process",
    "each_thread", "f_map", "fault", "faults_named", "filter", "filter_ops", "flip_flop",
    "imperfect", "key_names", "lift", "limit", "log", "map", "map_ops", "mix", "nemesis",
    "on_threads", "once", "once_through", "op", "perfect", "phases", "process_limit", "quick",
    "rate", "reads", "repeat", "reserve", "seq", "simulate", "sleep", "stagger", "synchronize",
    "then", "time_limit", "until_ok", "wants_updates", "writes",
]  # fmt: skip

"""The generator algebra: Jepsen's semantics on small cases, and laws on random ones.

Sequences are written as ``thread:f`` at a time in nanoseconds, so that a golden can be read.
"""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads import generator as gen
from workloads.generator import GeneratorError, Op


def invocations(generator, **options):
    return [e for e in gen.simulate(generator, **options) if e.type == "invoke"]


def names(generator, **options):
    return [op.f for op in invocations(generator, **options)]


def told(events):
    return [f"{e.time_ns} {e.process} {e.type} {e.f}" for e in events]


# Sources ------------------------------------------------------------------------------------------


def test_a_dict_is_emitted_once():
    assert names({"f": "read", "key": "x"}) == ["read"]


def test_none_is_exhausted():
    assert names(None) == []


def test_a_list_is_one_after_the_other():
    assert names([{"f": "a"}, [{"f": "b"}, None, {"f": "c"}], {"f": "d"}]) == ["a", "b", "c", "d"]


def test_an_iterator_is_read_lazily_and_remembered():
    read = []

    def source():
        for number in itertools.count():
            read.append(number)
            yield {"f": "w", "value": number}

    generator = gen.lift(source())
    first = invocations(gen.limit(3, generator), concurrency=1)
    again = invocations(gen.limit(3, generator), concurrency=1)
    assert [op.value for op in first] == [op.value for op in again] == [0, 1, 2]
    assert read == [0, 1, 2]


def test_a_function_is_called_until_it_returns_none():
    left = [3]

    def three():
        left[0] -= 1
        return {"f": f"call{left[0]}"} if left[0] >= 0 else None

    assert names(three) == ["call2", "call1", "call0"]


def test_a_function_of_test_and_context_sees_both():
    def once(test, context):
        return {"f": test, "value": context.concurrency}

    op = invocations(gen.limit(1, once), test="T", concurrency=7)[0]
    assert (op.f, op.value) == ("T", 7)


def test_repeat_never_moves_on_and_cycle_begins_again():
    pair = [{"f": "a"}, {"f": "b"}]
    assert names(gen.repeat(pair, count=3)) == ["a", "a", "a"]
    assert names(gen.cycle(pair, count=2)) == ["a", "b", "a", "b"]


def test_written_values_are_unique_over_copies_and_mixtures():
    writes = gen.each_thread(gen.mix(gen.writes(2), gen.cas(2)).limit(20))
    values = [
        op.value if op.f == "write" else op.value[1] for op in invocations(writes, concurrency=5)
    ]
    assert len(values) == 100 == len(set(values))


def test_cas_expects_what_was_seen():
    script = gen.phases({"f": "write", "key": "k0", "value": 77}, gen.cas(1).limit(30))
    olds = [op.value[0] for op in invocations(script, concurrency=1) if op.f == "cas"]
    assert olds[0] == 77 or 77 in olds
    values = [op.value for op in invocations(gen.cas(1).limit(50), concurrency=1)]
    follows = sum(1 for one, two in itertools.pairwise(values) if two[0] == one[1])
    assert follows > 35, "nine in ten expect the value last set"


# Combinators --------------------------------------------------------------------------------------


def test_mix_draws_by_weight_and_forgets_the_exhausted():
    mixed = gen.mix(gen.limit(3, gen.repeat({"f": "a"})), gen.repeat({"f": "b"}))
    drawn = names(gen.limit(100, mixed))
    assert drawn.count("a") == 3
    heavy = gen.mix(gen.repeat({"f": "a"}), gen.repeat({"f": "b"}), weights=[9, 1])
    assert 800 < names(gen.limit(1000, heavy)).count("a") < 970


def test_flip_flop_alternates_and_ends_with_either():
    flip = gen.flip_flop(gen.repeat({"f": "a"}), gen.limit(2, gen.repeat({"f": "b"})))
    assert names(flip) == ["a", "b", "a", "b", "a"]


def test_filter_and_map():
    numbers = [{"f": "w", "value": n} for n in range(6)]
    even = gen.lift(numbers).filter(lambda op: op.value % 2 == 0)
    assert [op.value for op in invocations(even)] == [0, 2, 4]
    tens = gen.lift(numbers).map(lambda op: {"value": op.value * 10})
    assert [op.value for op in invocations(tens)] == [0, 10, 20, 30, 40, 50]
    assert names(gen.f_map({"w": "write"}, numbers[:1])) == ["write"]


def test_until_ok_ends_after_its_own_first_ok():
    outcomes = iter(["fail", "info", "ok"])
    generator = gen.until_ok(gen.repeat({"f": "try"}))
    events = gen.simulate(
        generator, concurrency=1, complete=lambda op, n: (next(outcomes, "fail"), 10)
    )
    assert [e.type for e in events if e.type != "invoke"] == ["fail", "info", "ok"]


def test_any_takes_the_soonest():
    early = gen.delay(1e-9, gen.repeat({"f": "early"}))
    late = gen.delay(5e-9, gen.repeat({"f": "late"}))
    seen = names(gen.limit(12, gen.any(early, late)), concurrency=5, complete=gen.quick)
    assert seen.count("early") > 2 * seen.count("late") > 0


def test_process_limit_bounds_processes():
    generator = gen.process_limit(5, gen.repeat({"f": "r"}))
    crashing = gen.simulate(generator, concurrency=2, complete=lambda op, n: ("info", 10))
    assert len({e.process for e in crashing}) == 5


# Time ---------------------------------------------------------------------------------------------


def test_golden_two_threads_with_crashes():
    generator = gen.limit(4, gen.repeat({"f": "r"}))
    assert told(gen.simulate(generator, concurrency=2, complete=gen.imperfect)) == [
        "0 1 invoke r",
        "0 0 invoke r",
        "10 1 ok r",
        "10 0 info r",
        "10 2 invoke r",
        "10 1 invoke r",
        "20 2 fail r",
        "20 1 ok r",
    ]


def test_delay_keeps_a_distance():
    generator = gen.limit(4, gen.delay(3e-9, gen.repeat({"f": "r"})))
    times = [op.time_ns for op in invocations(generator, complete=gen.quick)]
    assert times == [0, 3, 6, 9]


def test_rate_is_the_rate_over_all_threads():
    ops = invocations(gen.reads(1).rate(1000).time_limit(2), concurrency=7)
    assert 1900 < len(ops) < 2100
    assert max(op.time_ns for op in ops) < 2_000_000_000


def test_time_limit_counts_from_the_first_asking():
    slow = gen.phases(gen.sleep(1), gen.reads(1).delay(0.1).time_limit(0.35))
    times = [op.time_ns for op in invocations(slow, concurrency=1)]
    assert times == [1_000_000_000 + n * 100_000_000 for n in range(4)]


def test_sleep_takes_a_thread_and_is_no_event():
    generator = [gen.sleep(1), {"f": "after"}]
    events = gen.simulate(generator, concurrency=1)
    assert told(events) == ["1000000000 0 invoke after", "1000000010 0 ok after"]


# Threads ------------------------------------------------------------------------------------------


def test_reserve_gives_ranges_to_generators():
    generator = gen.reserve(
        2, gen.repeat({"f": "w"}), 1, gen.repeat({"f": "c"}), gen.repeat({"f": "r"})
    )
    ops = invocations(gen.limit(200, generator), concurrency=5)
    threads = {f: {op.thread for op in ops if op.f == f} for f in "wcr"}
    assert threads == {"w": {0, 1}, "c": {2}, "r": {3, 4}}


def test_on_threads_clients_and_nemesis():
    assert {op.thread for op in invocations(gen.limit(9, gen.on_threads([1], gen.reads(1))))} == {1}
    both = gen.clients(gen.limit(5, gen.reads(1)), gen.limit(2, gen.repeat({"f": "kill"})))
    ops = invocations(both, concurrency=3)
    assert {op.process for op in ops if op.f == "kill"} == {"nemesis"}
    assert "nemesis" not in {op.process for op in ops if op.f == "read"}
    plain = invocations(gen.limit(50, gen.reads(1)), concurrency=2)
    assert {op.thread for op in plain} == {0, 1}, "the nemesis thread is for gen.nemesis only"


def test_each_thread_and_each_process():
    pair = [{"f": "a"}, {"f": "b"}]
    ops = invocations(gen.each_thread(pair), concurrency=3)
    assert sorted((op.thread, op.f) for op in ops) == [(t, f) for t in range(3) for f in "ab"]
    crash_once = gen.simulate(
        gen.each_process(pair),
        concurrency=1,
        complete=lambda op, n: ("info" if n == 0 else "ok", 10),
    )
    assert [(e.process, e.f) for e in crash_once if e.type == "invoke"] == [
        (0, "a"), (1, "a"), (1, "b"),
    ]  # fmt: skip


def test_phases_wait_for_everybody():
    slow = {"f": "slow"}
    generator = gen.phases(gen.limit(3, gen.repeat(slow)), gen.limit(1, gen.repeat({"f": "next"})))
    events = gen.simulate(generator, concurrency=3, complete=lambda op, n: ("ok", 10 * (n + 1)))
    begun = next(e.time_ns for e in events if e.f == "next" and e.type == "invoke")
    assert begun == max(e.time_ns for e in events if e.f == "slow")


def test_a_final_phase_reads_each_key_once():
    final = gen.once_through(gen.each_thread(gen.reads(3)))
    ops = invocations(final, concurrency=2)
    assert sorted((op.thread, op.key) for op in ops) == [
        (thread, f"k{key}") for thread in range(2) for key in range(3)
    ]


# Mistakes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("thing", "words"),
    [
        ({"key": 1}, "has no 'f'"),
        ({"f": "r", "k": 1}, "did you mean key"),
        ({"f": 3}, "it should be a name"),
        (17, "is no generator"),
        ("read", "is no generator"),
        (gen.Generator, "is a class"),
        (lambda one: None, "takes 1 arguments"),
    ],
)
def test_what_is_no_generator_is_said(thing, words):
    with pytest.raises(GeneratorError, match=words):
        gen.simulate(thing)


def test_async_functions_are_refused():
    async def later():
        return {"f": "read"}

    with pytest.raises(GeneratorError, match="is async"):
        gen.lift(later)


@pytest.mark.parametrize(
    "make",
    [
        lambda: gen.rate(0, None),
        lambda: gen.stagger(-1, None),
        lambda: gen.time_limit(float("nan"), None),
        lambda: gen.limit(-1, None),
        lambda: gen.limit(1.5, None),
        lambda: gen.reserve(1, None),
        lambda: gen.reserve(0, None, None),
        lambda: gen.mix(),
        lambda: gen.mix(None, weights=[1, 2]),
        lambda: gen.mix(None, None, weights=[0, 0]),
        lambda: gen.reads(0),
        lambda: gen.reads([]),
        lambda: gen.reads("abc"),
        lambda: gen.sleep(-1),
        lambda: gen.on_threads([], None),
    ],
)
def test_bad_arguments_get_a_sentence(make):
    with pytest.raises(GeneratorError):
        make()


def test_a_map_that_returns_nothing_is_said():
    with pytest.raises(GeneratorError, match="should return the operation"):
        gen.simulate(gen.reads(1).map(lambda op: None).limit(1))


def test_a_process_nobody_runs_is_said():
    with pytest.raises(GeneratorError, match="which no thread runs"):
        gen.simulate(gen.op("read", process=99))


# Laws ---------------------------------------------------------------------------------------------

leaves = st.sampled_from(
    [
        gen.reads(3),
        gen.writes(2),
        gen.cas(2),
        gen.repeat({"f": "x"}),
        gen.lift([{"f": "a"}, {"f": "b"}]),
    ]
)


def combined(inner):
    return st.one_of(
        st.tuples(inner, inner).map(lambda p: gen.mix(*p)),
        st.tuples(inner, inner).map(lambda p: gen.any(*p)),
        st.tuples(inner, inner).map(lambda p: gen.flip_flop(*p)),
        st.tuples(inner, inner).map(lambda p: gen.phases(p[0].limit(3), p[1])),
        st.tuples(inner, inner).map(lambda p: gen.reserve(1, p[0], p[1])),
        st.tuples(inner, st.integers(0, 9)).map(lambda p: gen.limit(p[1], p[0])),
        inner.map(gen.each_thread),
        inner.map(gen.each_process),
        inner.map(gen.until_ok),
        inner.map(lambda g: gen.stagger(1e-8, g)),
        inner.map(lambda g: gen.time_limit(1e-7, g)),
        inner.map(gen.clients),
    )


generators = st.recursive(leaves, combined, max_leaves=6)


@settings(max_examples=150, deadline=None)
@given(generators, st.integers(1, 5), st.integers(0, 99), st.sampled_from(["ok", "info", "fail"]))
def test_histories_of_any_generator_are_well_formed(generator, concurrency, seed, outcome):
    events = gen.simulate(
        generator,
        concurrency=concurrency,
        seed=seed,
        limit=40,
        complete=lambda op, n: (outcome if n % 2 else "ok", 10 + n % 7),
    )
    open_by_process: dict[object, Op] = {}
    done = set()
    last_ns = 0
    for event in events:
        assert event.time_ns >= last_ns
        last_ns = event.time_ns
        if event.type == "invoke":
            assert event.process not in open_by_process and event.process not in done
            open_by_process[event.process] = event
            assert event.process % concurrency == event.thread
        else:
            assert open_by_process.pop(event.process).f == event.f
            if event.type == "info":
                done.add(event.process)
    assert not open_by_process


@settings(max_examples=60, deadline=None)
@given(generators, st.integers(1, 4), st.integers(0, 99))
def test_equal_seeds_give_equal_histories(generator, concurrency, seed):
    def once():
        return gen.simulate(
            generator, concurrency=concurrency, seed=seed, limit=30, complete=gen.imperfect
        )

    assert once() == once()


@settings(max_examples=60, deadline=None)
@given(generators, st.integers(0, 12))
def test_limit_bounds_any_generator(generator, count):
    assert len(invocations(gen.limit(count, generator), limit=60)) <= count


def test_threads_that_are_not_there_do_not_hold_up_the_others() -> None:
    """Inside each_process only one thread is left; a part for another one has nothing to do."""
    one = gen.reserve(1, gen.seq([{"f": "a"}]), gen.seq([{"f": "b"}])).time_limit(1)
    events = gen.simulate(gen.each_process(one), concurrency=2, complete=gen.quick)
    assert sorted(event.f for event in events if event.type == "invoke") == ["a", "b"]
    odd = gen.on_threads([1], gen.seq([{"f": "a"}]))
    assert gen.simulate(odd, concurrency=1, complete=gen.quick) == []

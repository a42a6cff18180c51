"""The peak without page cache: what follows from the kernel's record and two looks."""

from __future__ import annotations

from itertools import accumulate, pairwise

from hypothesis import given
from hypothesis import strategies as st

from xpullm_runtime.highwater import HeldPeak, Reading


def peak(*looks: tuple[int, int, int]) -> int:
    """Of looks at (record, usage, cache)."""
    held = HeldPeak()
    for look in looks:
        held.add(Reading(*look))
    return held.bytes


def test_a_peak_that_no_look_saw_is_in_the_kernels_record() -> None:
    assert peak((20, 20, 5), (420, 30, 5)) == 415


def test_cache_that_was_read_meanwhile_is_taken_off() -> None:
    assert peak((20, 20, 5), (420, 420, 405)) == 15


def test_cache_that_was_given_back_meanwhile_is_taken_off() -> None:
    assert peak((300, 300, 280), (320, 40, 20)) == 40


def test_a_record_from_before_the_first_look_says_nothing() -> None:
    assert peak((900, 20, 5), (900, 30, 5)) == 25


def test_at_the_limit_only_looks_tell() -> None:
    assert peak((100, 100, 80), (100, 100, 30), (100, 100, 60)) == 70


def test_without_a_record_only_looks_tell() -> None:
    assert peak((0, 20, 5), (0, 300, 100), (0, 30, 5)) == 200


sizes = st.integers(0, 1000)
steps = st.lists(st.tuples(sizes, sizes, st.booleans()), min_size=1, max_size=30)


def watched(held: list[int], cache: list[int], looked: list[bool]) -> tuple[HeldPeak, list[int]]:
    """What is found of a course of both, and the moments of the looks."""
    records = list(accumulate((a + b for a, b in zip(held, cache, strict=True)), max))
    moments = [n for n, look in enumerate(looked) if look or n in (0, len(looked) - 1)]
    found = HeldPeak()
    for n in moments:
        found.add(Reading(records[n], held[n] + cache[n], cache[n]))
    return found, moments


@given(steps)
def test_while_cache_only_grows_the_error_is_at_most_its_growth_between_two_looks(
    course: list[tuple[int, int, bool]],
) -> None:
    held, growth, looked = (list(column) for column in zip(*course, strict=True))
    cache = list(accumulate(growth))
    found, moments = watched(held, cache, looked)
    grown = max((cache[b] - cache[a] for a, b in pairwise(moments)), default=0)
    assert max(held) - grown <= found.bytes <= max(held)


@given(steps)
def test_whatever_the_cache_does_the_peak_is_no_less_than_any_look_and_no_more_than_the_record(
    course: list[tuple[int, int, bool]],
) -> None:
    held, cache, looked = (list(column) for column in zip(*course, strict=True))
    found, moments = watched(held, cache, looked)
    record = max(a + b for a, b in zip(held, cache, strict=True))
    assert max(held[n] for n in moments) <= found.bytes <= record


@given(steps)
def test_while_cache_only_shrinks_nothing_is_invented(course: list[tuple[int, int, bool]]) -> None:
    held, loss, looked = (list(column) for column in zip(*course, strict=True))
    cache = list(accumulate(loss))[::-1]
    assert watched(held, cache, looked)[0].bytes <= max(held)

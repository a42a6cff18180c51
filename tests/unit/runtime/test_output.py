"""Lines and tail: whatever comes, memory is bounded and the decisive lines stay."""

from __future__ import annotations

import itertools
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpullm_runtime.output import DECISIVE_LINES, LINE_BYTES, TAIL_BYTES, Lines, Pump, Tail

pytestmark = pytest.mark.timeout(20)  # against hangs, on shared machines


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=6))
def test_lines_do_not_depend_on_how_the_stream_is_cut(data: bytes, cuts: list[int]) -> None:
    whole, pieces = Lines(), Lines()
    expected = [*whole.feed(data), *whole.flush()]
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    found = [
        line for start, end in itertools.pairwise(edges) for line in pieces.feed(data[start:end])
    ]
    assert [*found, *pieces.flush()] == expected


def test_a_carriage_return_ends_a_line_and_empty_lines_are_dropped() -> None:
    lines = Lines()
    assert list(lines.feed(b"10%\r50%\r\n\n\nend")) == ["10%", "50%"]
    assert list(lines.flush()) == ["end"]


def test_of_an_endless_line_only_the_beginning_is_kept() -> None:
    lines = Lines()
    for _ in range(100):
        assert list(lines.feed(b"y" * 65536)) == []
    assert list(lines.feed(b"\nnext\n")) == ["y" * LINE_BYTES, "next"]


def test_the_tail_forgets_the_oldest_but_keeps_decisive_lines() -> None:
    tail = Tail()
    tail.add("torch.OutOfMemoryError: first", decisive=True)
    for number in range(3000):
        tail.add(f"{number} " + "x" * 1000, decisive=False)
    text = tail.text()
    assert text.startswith("torch.OutOfMemoryError: first\n")
    assert text.endswith("2999 " + "x" * 1000)
    assert len(text) <= TAIL_BYTES + 2000


def test_a_decisive_line_still_in_the_tail_is_not_doubled() -> None:
    tail = Tail()
    for line, decisive in (("a", False), ("b", True), ("c", False)):
        tail.add(line, decisive)
    assert tail.text() == "a\nb\nc"


def test_of_many_decisive_lines_the_first_and_the_last_are_kept() -> None:
    tail = Tail()
    for number in range(1000):
        tail.add(f"error {number}", decisive=True)
    kept = tail.decisive(10_000)
    assert kept[:DECISIVE_LINES] == tuple(f"error {n}" for n in range(DECISIVE_LINES))
    assert kept[DECISIVE_LINES:] == tuple(f"error {n}" for n in range(1000 - DECISIVE_LINES, 1000))
    assert tail.decisive(2) == ("error 998", "error 999")


def test_a_reader_that_is_gone_does_not_stop_the_engine() -> None:
    source, engine = os.pipe()
    reader, target = os.pipe()
    os.close(reader)
    seen: list[bytes] = []
    pump = Pump(source, target, seen.append)
    pump.start()
    for _ in range(20):
        os.write(engine, b"z" * 60_000)  # more than the pipe holds: it must be drained
    os.close(engine)
    pump.join()
    os.close(target)
    assert sum(map(len, seen)) == 1_200_000
    assert seen[-1] == b""

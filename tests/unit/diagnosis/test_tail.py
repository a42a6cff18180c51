"""Only the end of a log is read: memory doesn't grow with it, and what stands before is unseen."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest
from tests.unit.diagnosis.logs import DEAD, OOM, core, log

from xpullm.cli import diagnose
from xpullm_runtime.diagnosis import Diagnosis, Evidence, classify

TAIL_CHARS = 2_000_000
END = "\n" + log(core(OOM), DEAD) + "\n"


@cache
def block() -> str:
    """About a megabyte of lines that are no two alike and say nothing."""
    random = Random(1)
    return "".join(
        f"INFO 07-01 10:00:00 [x.py:1] request {random.randbytes(30).hex()} ended\n"
        for _ in range(10_000)
    )


def ordinary(size: int) -> str:
    """So many characters of such lines."""
    return (block() * (size // len(block()) + 1))[-size:]


def found_in(text: str) -> Diagnosis:
    return classify(Evidence(log=text, exit_code=1))


def peak_bytes(action: Callable[[], Diagnosis]) -> int:
    found_in(END)  # what is loaded once is loaded now
    tracemalloc.start()
    try:
        assert action().cause == "device_oom_startup"
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.timeout(20)  # tracing takes its time
def test_memory_beside_a_log_is_the_same_for_any_length() -> None:
    peaks = []
    for megabytes in (5, 60):
        text = ordinary(megabytes * 1_000_000) + END
        peaks.append(peak_bytes(lambda text=text: found_in(text)))
    assert max(peaks) - min(peaks) < 100_000
    assert max(peaks) < 6 * TAIL_CHARS


@pytest.mark.timeout(20)
# Standard input comes in pieces of a megabyte, and one of them may hang over.
@pytest.mark.parametrize(("source", "apart"), [("file", 100_000), ("standard input", 2_100_000)])
def test_a_log_of_any_length_is_read_within_the_same_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, apart: int
) -> None:
    peaks = []
    for megabytes in (5, 60):
        path = tmp_path / f"{megabytes}.log"
        path.write_text(ordinary(megabytes * 1_000_000) + END)

        def read(path: Path = path) -> Diagnosis:
            if source == "file":
                return found_in(diagnose.tail(str(path)))
            with io.FileIO(path) as raw:
                monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=raw))
                return found_in(diagnose.tail("-"))

        peaks.append(peak_bytes(read))
        path.unlink()
    assert max(peaks) - min(peaks) < apart
    assert max(peaks) < 12 * TAIL_CHARS


@pytest.mark.parametrize(
    ("after", "cause"), [(TAIL_CHARS - 1000, "device_oom_startup"), (TAIL_CHARS, "unknown")]
)
def test_what_stands_before_the_end_is_unseen(after: int, cause: str) -> None:
    assert found_in(core(OOM) + "\n" + ordinary(after)).cause == cause

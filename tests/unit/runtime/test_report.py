"""The termination message: whatever is put in, it is valid JSON of at most 4096 bytes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpullm_runtime.report import MAX_BYTES, SCHEMA, Report, decode, encode

pytestmark = pytest.mark.timeout(20)  # against hangs, on shared machines

anything = st.text(st.characters(), max_size=400)  # surrogates and control characters too
whole = st.integers() | st.integers(0, 2**40)

reports = st.builds(
    Report,
    cause=anything,
    phase=anything,
    helps=anything,
    actionable=st.booleans(),
    ended=st.booleans(),
    was_ready=st.booleans(),
    exit_code=st.none() | whole,
    signal=st.none() | whole,
    started=st.floats(),
    seconds=st.floats(),
    oom_kills=whole,
    host_peak_bytes=whole,
    host_limit_bytes=whole,
    vram_peak_bytes=whole,
    requests=whole,
    plan_hash=anything,
    evidence=st.lists(anything, max_size=12).map(tuple),
    figures=st.dictionaries(anything, whole, max_size=40),
)


@given(reports)
def test_it_always_fits_and_is_read_back(report: Report) -> None:
    data = encode(report)
    assert len(data) <= MAX_BYTES
    back = decode(data)
    assert back is not None
    assert (back.ended, back.was_ready, back.actionable) == (
        report.ended,
        report.was_ready,
        report.actionable,
    )
    assert encode(back) == data or len(report.evidence) > 0


def test_an_ordinary_report_is_kept_whole() -> None:
    report = Report(
        cause="device_oom_runtime",
        phase="runtime",
        helps="arguments",
        actionable=True,
        ended=True,
        was_ready=True,
        exit_code=1,
        started=1700000000.5,
        seconds=12.5,
        host_peak_bytes=5 << 30,
        plan_hash="0123456789abcdef",
        evidence=("torch.OutOfMemoryError: XPU out of memory. Tried to allocate 130.00 MiB",),
        figures={"tried_bytes": 130 << 20},
    )
    assert decode(encode(report)) == report
    assert decode(encode(report).decode()) == report


def test_long_evidence_is_shortened_before_any_line_is_dropped() -> None:
    report = Report(evidence=tuple(f"{number} " + "語" * 400 for number in range(8)))
    back = decode(encode(report))
    assert back is not None
    assert [line.split()[0] for line in back.evidence] == list("01234567")


@pytest.mark.parametrize(
    "message",
    [
        None,
        "",
        b"",
        "Traceback (most recent call last):",
        "{}",
        "[]",
        "null",
        '{"schema": "other/v1"}',
        "[" * 5000,
        '{"schema": "' + SCHEMA + '"' + " " * 9000 + "}",
        b"\xff\xfe",
    ],
)
def test_what_is_no_report_is_none(message: Any) -> None:
    assert decode(message) is None


def test_fields_of_a_wrong_type_or_size_are_dropped() -> None:
    hostile = {
        "schema": SCHEMA, "cause": "x" * 5000, "phase": 7, "actionable": "yes", "exit_code": True,
        "signal": 10**30, "started": "now", "evidence": ["a\x00b\ud800", 5, ["c"]],
        "figures": {"n": 1, "bad": 1.5, "big": 10**30, "flag": True}, "new": 1,
    }  # fmt: skip
    assert decode(json.dumps(hostile)) == Report(
        cause="x" * 64, evidence=("a b ",), figures={"n": 1}
    )


def test_not_a_number_is_no_time() -> None:
    assert decode('{"schema": "' + SCHEMA + '", "seconds": NaN, "started": 1e999}') == Report()

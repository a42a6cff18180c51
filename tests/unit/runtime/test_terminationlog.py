"""The message file holds a whole report at every moment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpullm_runtime import terminationlog
from xpullm_runtime.report import Report, decode, encode
from xpullm_runtime.terminationlog import TerminationLog

pytestmark = pytest.mark.timeout(20)  # against hangs, on shared machines


def test_a_shorter_report_replaces_a_longer_one_entirely(tmp_path: Path) -> None:
    log = TerminationLog(str(tmp_path / "message"))
    log.write(Report(evidence=("a" * 300,)))
    log.write(Report(cause="host_oom"))
    assert (tmp_path / "message").read_bytes() == encode(Report(cause="host_oom"))


@given(st.lists(st.text(max_size=300), min_size=2, max_size=2))
def test_death_between_the_two_system_calls_leaves_a_valid_report(
    tmp_path_factory: pytest.TempPathFactory, causes: list[str]
) -> None:
    path = tmp_path_factory.mktemp("log") / "message"
    log = TerminationLog(str(path))
    log.write(Report(evidence=(causes[0],)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(terminationlog.os, "ftruncate", lambda *_: None)  # as if killed before it
        log.write(Report(evidence=(causes[1],)))
    log.close()
    assert decode(path.read_bytes()) == decode(encode(Report(evidence=(causes[1],))))


def test_what_an_earlier_container_left_is_written_over(tmp_path: Path) -> None:
    path = tmp_path / "message"
    path.write_bytes(b"x" * 5000)
    TerminationLog(str(path)).write(Report())
    assert path.read_bytes() == encode(Report())


def test_no_file_is_no_error_that_ends_anything(tmp_path: Path) -> None:
    log = TerminationLog(str(tmp_path / "missing" / "message"))
    log.write(Report())
    assert "No such file" in log.error
    TerminationLog("").write(Report())


def test_an_equal_report_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "message"
    log = TerminationLog(str(path))
    log.write(Report())
    os.truncate(path, 0)
    log.write(Report())
    assert path.read_bytes() == b""

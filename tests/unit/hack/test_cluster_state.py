"""What is written down of a running cluster, and how free room is found."""

import os
import socket
from pathlib import Path

import pytest
from hack.cluster import ClusterError
from hack.cluster.state import State, known, reserve, start_time


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XPULLM_CACHE", str(tmp_path))


def test_two_clusters_share_nothing() -> None:
    one, two = reserve("one"), reserve("two")
    assert abs(one.port - two.port) >= 10
    assert one.subnet != two.subnet
    assert {one.bridge, one.cgroup, one.folder, one.sockets}.isdisjoint(
        {two.bridge, two.cgroup, two.folder, two.sockets}
    )
    assert sorted(state.id for state in known()) == ["one", "two"]


def test_a_name_is_taken_once() -> None:
    reserve("mine")
    with pytest.raises(ClusterError, match="cluster 'mine' exists"):
        reserve("mine")


def test_a_port_in_use_is_avoided() -> None:
    first = reserve("first")
    (first.folder / "state.json").unlink()  # forgotten, but somebody listens there
    with socket.socket() as other:
        other.bind(("127.0.0.1", first.port + 3))
        assert reserve("second").port != first.port


def test_the_owner_lives_while_its_process_does() -> None:
    mine = reserve("mine")
    assert mine.owner == (os.getpid(), start_time(os.getpid()))
    assert mine.owner_lives()
    reused = State(id="x", port=1, subnet=1, owner=(os.getpid(), 1))  # same id, other process
    assert not reused.owner_lives()
    assert reserve("free").detach().owner_lives()
    assert [state.owner for state in known() if state.id == "free"] == [None]


def test_a_damaged_file_is_not_a_cluster(tmp_path: Path) -> None:
    folder = reserve("mine").folder
    (folder / "state.json").write_text("{")
    assert known() == []


def test_sockets_have_short_paths() -> None:
    longest = reserve("a-name-of-thirty-characters-xx").sockets / "containerd.sock"
    assert len(str(longest)) < 108  # sockaddr_un

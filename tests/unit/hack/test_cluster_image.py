"""Local images are docker archives with a base layer and one layer of files."""

import io
import json
import tarfile
from pathlib import Path

import pytest
from hack.cluster import ClusterError, image


@pytest.fixture(autouse=True)
def _small_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = tmp_path / "base.tar"
    with tarfile.open(base, "w"):
        pass
    monkeypatch.setattr(image, "base_layer", lambda _: base)


def _open(archive: bytes) -> tarfile.TarFile:
    return tarfile.open(fileobj=io.BytesIO(archive))


def _json(tar: tarfile.TarFile, name: str) -> object:
    member = tar.extractfile(name)
    assert member is not None
    return json.load(member)


def test_files_text_and_folders_become_a_layer(tmp_path: Path) -> None:
    folder = tmp_path / "package"
    (folder / "__pycache__").mkdir(parents=True)
    (folder / "__pycache__" / "x.pyc").touch()
    (folder / "module.py").write_text("x = 1\n")
    made = image.archive("a.local/b:1", {"/opt/p": folder, "bin/run": "#!/bin/sh\n"})
    layer = _open(made).extractfile("files.tar")
    assert layer is not None
    with tarfile.open(fileobj=layer) as tar:
        members = {member.name: oct(member.mode) for member in tar}
    assert members == {"bin/run": "0o755", "opt/p/module.py": "0o644"}


def test_the_name_is_a_label_so_that_each_name_has_an_id_of_its_own() -> None:
    one, two = (_open(image.archive(name, {}, ("/bin/x",))) for name in ("a/b:1", "a/b:2"))
    assert _json(one, "config.json") != _json(two, "config.json")
    config = _json(one, "config.json")
    assert isinstance(config, dict)
    assert config["config"]["Entrypoint"] == ["/bin/x"]
    assert config["config"]["Labels"] == {"name": "a/b:1"}


@pytest.mark.parametrize("name", ["a.local/b", "a.local:5000/b", "a.local/b:latest"])
def test_a_name_that_would_be_pulled_is_refused(name: str) -> None:
    with pytest.raises(ClusterError, match="needs a tag, and not :latest"):
        image.archive(name, {})

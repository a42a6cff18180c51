"""The image: what the Containerfile says, and what its commands make."""

from __future__ import annotations

import json
import os
import subprocess
from importlib.metadata import distributions
from pathlib import Path

import pytest
from hack.containerfile import Built, stages

from xpullm_runtime.build import archive

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "Containerfile").read_text()
BUILD, FINAL = stages(TEXT)


def test_it_runs_as_a_numbered_user_that_is_not_root() -> None:
    assert FINAL.all("USER") == ["65532:65532"]


def test_nothing_is_fetched_by_address() -> None:
    for stage in (BUILD, FINAL):
        assert stage.all("ADD") == []
        for line in stage.all("RUN") + stage.all("COPY"):
            assert "://" not in line
            assert not {"curl", "wget", "git"} & set(line.split())


def test_base_images_are_of_a_version_and_of_no_registry() -> None:
    for stage in (BUILD, FINAL):
        image = stage.base.split()[0]
        name, _, tag = image.partition(":")
        assert tag not in ("", "latest")
        assert "/" not in name


def test_the_last_stage_runs_nothing_and_copies_only_what_was_built() -> None:
    assert FINAL.all("RUN") == []
    assert all(line.startswith("--from=build ") for line in FINAL.all("COPY"))


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    kept = (ROOT / ".dockerignore").read_text().splitlines()
    for line in BUILD.all("COPY"):
        for name in line.split()[:-1]:
            assert (ROOT / name).exists(), name
            assert f"!{name}" in kept


def test_the_example_tag_is_this_version() -> None:
    from xpullm_runtime import __version__

    assert f"xpullm/xpullm:{__version__}" in TEXT


def run(built: Built, *command: str) -> str:
    app = built.files["/app"]
    environment = {"PATH": f"{app}/bin:{os.environ['PATH']}"}
    done = subprocess.run(
        command, env=environment, cwd="/", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_operator_and_the_command_line_start(built: Built) -> None:
    help_text = run(built, *built.command, "--help")
    assert "--metrics-port" in help_text
    assert "llmdeployments.xpullm.io" in run(built, "xpullm", "crd")


def test_a_plan_needs_nothing_that_was_not_packaged(built: Built) -> None:
    example = str(ROOT / "examples" / "qwen2-7b-a770.yaml")
    answer = json.loads(run(built, "xpullm", "plan", "-f", example, "-o", "json"))
    assert answer["result"] == "plan"


def test_it_holds_no_tests_and_no_tools_of_developers(built: Built) -> None:
    (packages,) = built.files["/app"].glob("lib/python3*/site-packages")
    names = {d.metadata["Name"].lower() for d in distributions(path=[str(packages)])}
    assert {"xpullm", "kopf", "kubernetes"} <= names
    assert not names & {"pytest", "hypothesis", "mypy", "ruff", "lupa", "uv", "pip", "setuptools"}
    ours = {p.name for p in packages.iterdir()} & {"tests", "hack", "operator", "runtime"}
    assert ours == set()


def test_the_supervisor_is_the_zipapp_of_these_sources(built: Built) -> None:
    zipapp = built.files["/xpullm-runtime.pyz"]
    assert zipapp.read_bytes() == archive()
    assert zipapp.stat().st_mode & 0o555 == 0o555


@pytest.mark.parametrize("text", ["RUN true\nFROM x:1", "ENV A=b"])
def test_an_instruction_before_from_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="before the first FROM"):
        stages(text)

"""The generator that adds a model to the catalogue from its config.json."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hack.generate import models as generator

from xpullm.planner import parse_config

CONFIG: dict[str, Any] = {
    "_name_or_path": "/home/me/model",
    "architectures": ["LlamaForCausalLM"],
    "bos_token_id": 1,
    "head_dim": None,
    "hidden_size": 2048,
    "initializer_range": 0.02,
    "intermediate_size": 8192,
    "max_position_embeddings": 4096,
    "model_type": "llama",
    "num_attention_heads": 32,
    "num_hidden_layers": 16,
    "num_key_value_heads": 8,
    "quantization_config": {"bits": 4, "quant_method": "gptq"},
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.45.0",
    "vision_config": {"hidden_size": 1024, "initializer_range": 0.02, "num_hidden_layers": 24},
    "vocab_size": 128256,
}


@pytest.fixture
def catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "models.json"
    path.write_text('{"other/model": {"config": {"hidden_size": 8}, "source": ["a paper"]}}')
    monkeypatch.setattr(generator, "CATALOGUE", path)
    return path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["models.py", *arguments])
    generator.main()


def added(monkeypatch: pytest.MonkeyPatch, path: Path, *more: str) -> None:
    file = path.parent / "config.json"
    file.write_text(json.dumps(CONFIG))
    run(monkeypatch, "--model", "me/one", "--source", "hf:me/one", *more, str(file))


def test_only_what_memory_depends_on_is_kept() -> None:
    dropped = {
        "_name_or_path", "bos_token_id", "head_dim", "initializer_range", "transformers_version",
    }  # fmt: skip
    kept = generator.kept(CONFIG)
    assert CONFIG.keys() - kept.keys() == dropped
    assert kept["vision_config"] == {"hidden_size": 1024, "num_hidden_layers": 24}
    assert kept["quantization_config"] == {"bits": 4, "quant_method": "gptq"}


def test_nothing_that_the_planner_reads_is_lost() -> None:
    assert parse_config(generator.kept(CONFIG)) == parse_config(CONFIG)


def test_a_model_is_added_beside_the_others(
    catalogue: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    added(monkeypatch, catalogue, "--alias", "me/one-chat")
    written = json.loads(catalogue.read_text())
    assert list(written) == ["me/one", "other/model"]
    assert written["other/model"] == {"config": {"hidden_size": 8}, "source": ["a paper"]}
    assert written["me/one"] == {
        "config": generator.kept(CONFIG),
        "source": ["hf:me/one"],
        "aliases": ["me/one-chat"],
    }


def test_two_runs_give_the_same_bytes(catalogue: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    added(monkeypatch, catalogue)
    first = catalogue.read_bytes()
    added(monkeypatch, catalogue)
    assert catalogue.read_bytes() == first


def test_a_config_without_model_or_source_is_refused(
    catalogue: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = catalogue.read_bytes()
    for arguments in (["--model", "me/one"], ["--source", "hf:me/one"], []):
        with pytest.raises(SystemExit) as ended:
            run(monkeypatch, *arguments, "config.json")
        assert ended.value.code == 2
    assert catalogue.read_bytes() == before


def test_a_survey_adds_its_models(catalogue: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = {
        "model": "me/two", "hidden_size": 16, "head_dim": None, "source": ["hf:me/two"],
        "total_params_computed": 12, "aliases": [], "notes": "seen once",
    }  # fmt: skip
    file = catalogue.parent / "survey.json"
    file.write_text(json.dumps({"models": [row]}))
    run(monkeypatch, "--survey", str(file))
    assert json.loads(catalogue.read_text())["me/two"] == {
        "config": {"hidden_size": 16},
        "source": ["hf:me/two"],
        "notes": "seen once",
    }

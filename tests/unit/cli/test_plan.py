"""`xpullm plan`: outputs, exit codes, and what it says to bad input."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from tests.unit.cli.shell import EXAMPLES, SEED, Shell

Manifest = Callable[..., str]
A770 = {"type": "arc-a770-16g", "count": 1}
BOMB = "{" + ", ".join(f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 9) if n else 1}]"
                       for n in range(12)) + "}"  # fmt: skip
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 2048,
    "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8,
    "vocab_size": 128256, "intermediate_size": 8192, "max_position_embeddings": 8192,
}  # fmt: skip


class TestTable:
    def test_the_seed_s_case(self, shell: Shell) -> None:
        ran = shell("plan", "-f", SEED)
        assert (ran.code, ran.err) == (0, "")
        lines = ran.out.splitlines()
        assert lines[0].startswith("qwen2-7b: Qwen/Qwen2-7B-Instruct, sym_int4, on arc-a770-16g")
        assert "    --load-in-low-bit sym_int4" in lines
        assert "    --max-num-seqs 4" in lines
        (bar,) = (line for line in lines if line.startswith("  ["))
        assert len(bar) == len("  [" + 64 * "W" + "]")
        assert bar.startswith("  [W")

    @pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda p: p.stem)
    def test_eighty_columns_and_no_colour(self, shell: Shell, path: Path) -> None:
        ran = shell("plan", "-f", str(path), "--explain")
        assert ran.code == 0
        assert max(map(len, ran.out.splitlines())) < 80
        assert "\x1b" not in ran.out

    def test_explain_names_formula_inputs_and_source_of_each_term(self, shell: Shell) -> None:
        out = shell("plan", "-f", SEED, "--explain").out
        for term in ("weights", "activations", "runtime", "KV cache", "reserve", "free"):
            after = out.partition(f"  device: {term} = ")[2].partition("\n  device: ")[0]
            assert "      formula: " in after, term
        assert out.count("      source: ") >= 8

    def test_what_does_not_fit(self, shell: Shell, manifest: Manifest) -> None:
        ran = shell("plan", "-f", manifest(model="Qwen/Qwen2-72B", quantization="fp16", gpu=A770))
        assert ran.code == 3
        lines = ran.out.splitlines()
        assert lines[0] == "demo: does not fit"
        assert max(map(len, lines)) < 80
        (bar,) = (line for line in lines if line.startswith("  ["))
        assert bar == "  [" + 64 * "W" + "]!"
        assert "! missing " in ran.out
        fits = lines[lines.index("  what fits:") + 1 :]
        assert sum(line.startswith("    spec.") for line in fits) >= 3
        assert ran.out.count("what fits") == 1

    def test_the_environment_is_part_of_it(self, shell: Shell) -> None:
        lines = shell("plan", "-f", SEED).out.splitlines()
        assert "    VLLM_USE_V1=0" in lines[lines.index("  environment:") :]

    def test_memory_of_the_user_s_own_wins(self, shell: Shell, manifest: Manifest) -> None:
        own = {"resources": {"limits": {"memory": "40Gi"}, "requests": {"memory": "20Gi"}}}
        out = shell("plan", "-f", manifest(gpu=A770, quantization="sym_int4", pod=own)).out
        assert "  host memory: request 20.00 GiB, limit 40.00 GiB," in out

    def test_two_files_are_two_blocks(self, shell: Shell, manifest: Manifest) -> None:
        ran = shell("plan", "-f", SEED, "-f", manifest(gpu=A770))
        first, second = ran.out.split("\n\n")
        assert first.startswith("qwen2-7b: ")
        assert second.startswith("demo: ")

    def test_growth_begins_as_the_operator_does(self, shell: Shell, tmp_path: Path) -> None:
        document = yaml.safe_load(Path(SEED).read_text())
        growth = {"mode": "Enabled", "startUtilizationPercent": 70}
        document["spec"]["healing"] = {"growth": growth}
        growing = tmp_path / "growing.yaml"
        growing.write_text(yaml.safe_dump(document))
        full = shell("plan", "-f", SEED, "-o", "json").json["plan"]
        low = shell("plan", "-f", str(growing), "-o", "json").json["plan"]
        assert (full["utilization_percent"], low["utilization_percent"]) == (93, 70)

    def test_the_worst_result_is_the_exit_code(self, shell: Shell, manifest: Manifest) -> None:
        big = manifest(model="Qwen/Qwen2-72B", quantization="fp16", gpu=A770)
        assert shell("plan", "-f", SEED, "-f", big).code == 3


class TestOutputs:
    def test_json_is_one_object_for_one_plan(self, shell: Shell) -> None:
        value = shell("plan", "-f", SEED, "-o", "json").json
        assert (value["name"], value["source"], value["result"]) == ("qwen2-7b", SEED, "plan")
        assert value["plan"]["arguments"]["max_num_seqs"] == 4

    def test_json_is_a_list_for_several(self, shell: Shell, manifest: Manifest) -> None:
        big = manifest(model="Qwen/Qwen2-72B", quantization="fp16", gpu=A770)
        values = shell("plan", "-f", SEED, "-f", big, "-o", "json").json
        assert [value["result"] for value in values] == ["plan", "infeasible"]
        assert values[1]["reason"] == "Infeasible"
        assert values[1]["term"] == "weights"
        assert values[1]["missingBytes"] > 100 << 30
        assert len(values[1]["alternatives"]) >= 3

    def test_a_refusal_names_field_and_value(self, shell: Shell, manifest: Manifest) -> None:
        ran = shell("plan", "-f", manifest(quantization="sym_int9"), "-o", "json")
        assert ran.code == 2
        told = {key: ran.json[key] for key in ("result", "reason", "field", "value")}
        assert told == {
            "result": "refused", "reason": "UnknownQuantization", "field": "spec.quantization",
            "value": "sym_int9",
        }  # fmt: skip

    def test_an_indivisible_number_of_cards(self, shell: Shell, manifest: Manifest) -> None:
        ran = shell("plan", "-f", manifest(quantization="sym_int4", gpu={**A770, "count": 3}))
        assert ran.code == 2
        assert ran.out.splitlines()[:2] == [
            "demo: refused (InvalidArgument)",
            "  spec.gpu.count: 3",
        ]
        told = " ".join(ran.out.split())
        assert "28 attention heads are not divisible by 3; use 1, 2 or 4, or" in told

    def test_yaml_is_the_same_as_json(self, shell: Shell) -> None:
        told = yaml.safe_load(shell("plan", "-f", SEED, "-o", "yaml").out)
        assert told == shell("plan", "-f", SEED, "-o", "json").json

    def test_args_are_the_engine_s_command_line(self, shell: Shell) -> None:
        words = shlex.split(shell("plan", "-f", SEED, "-o", "args").out)
        assert words[:5] == [
            "python3", "-m", "ipex_llm.vllm.xpu.entrypoints.openai.api_server", "--model",
            "Qwen/Qwen2-7B-Instruct",
        ]  # fmt: skip
        assert words[words.index("--load-in-low-bit") + 1] == "sym_int4"

    def test_args_of_vllm_serve_name_the_model_first(
        self, shell: Shell, manifest: Manifest
    ) -> None:
        out = shell("plan", "-f", manifest(gpu={"type": "arc-pro-b60"}), "-o", "args").out
        assert shlex.split(out)[:3] == ["vllm", "serve", "Qwen/Qwen2-7B-Instruct"]

    def test_args_name_what_clients_ask_for(self, shell: Shell, manifest: Manifest) -> None:
        path = manifest(gpu={"type": "arc-pro-b60"}, serving={"servedNames": ["a", "b"]})
        words = shlex.split(shell("plan", "-f", path, "-o", "args").out)
        assert words[words.index("--served-model-name") :][1:3] == ["a", "b"]

    def test_args_without_a_plan_are_a_comment(self, shell: Shell, manifest: Manifest) -> None:
        ran = shell("plan", "-f", manifest(quantization="sym_int9"), "-o", "args")
        assert ran.out.startswith("# UnknownQuantization: ")

    def test_helm_values(self, shell: Shell) -> None:
        values = yaml.safe_load(shell("plan", "-f", SEED, "-o", "helm-values").out)
        assert values["modelURL"] == "Qwen/Qwen2-7B-Instruct"
        assert values["requestGPU"] == 1
        assert values["image"].startswith("intelanalytics/ipex-llm-serving-xpu:")
        assert values["args"][values["args"].index("--max-num-seqs") + 1] == "4"
        assert values["resources"]["limits"]["memory"] == "31488Mi"  # as in the pod
        assert {"name": "VLLM_USE_V1", "value": "0"} in values["env"]


class TestBadInput:
    @pytest.mark.parametrize(
        ("content", "says"),
        [
            ("a: [b", "not YAML"),
            ("kind: LLMDeployment\nspec: &a {model: *a}", "aliases repeat themselves"),
            ("kind: LLMDeployment\nspec: " + BOMB, "aliases repeat themselves"),
            ("kind: Service", "; there is Service"),
            ("kind: LLMDeployment\nspec: {a: 1, a: 2}", "'a' twice at line 2, column 14"),
            ("- 1", "must be a mapping, is list"),
            ("", "no LLMDeployment in"),
            ("[" * 100_000 + "]" * 100_000, "nested more than 100 levels deep"),
            ("kind: LLMDeployment", "apiVersion: must be xpullm.io/v1alpha1"),
        ],
    )
    def test_files_that_are_no_manifest(
        self, shell: Shell, tmp_path: Path, content: str, says: str
    ) -> None:
        path = tmp_path / "given.yaml"
        path.write_text(content)
        ran = shell("plan", "-f", str(path))
        assert (ran.code, ran.out) == (2, "")
        assert ran.err.startswith("error: ")
        assert str(path) in ran.err
        assert says in ran.err

    def test_a_missing_file(self, shell: Shell) -> None:
        ran = shell("plan", "-f", "no/such.yaml")
        assert (ran.code, ran.err) == (2, "error: no/such.yaml: No such file or directory\n")

    def test_a_huge_file(self, shell: Shell, tmp_path: Path) -> None:
        path = tmp_path / "huge.yaml"
        path.write_bytes(b"#" * (10 * 1024 * 1024 + 1))
        ran = shell("plan", "-f", str(path))
        assert (ran.code, ran.err) == (2, f"error: {path}: larger than 10 MiB\n")

    def test_no_file_and_an_unknown_output(self, shell: Shell) -> None:
        assert shell("plan").code == 2
        ran = shell("plan", "-f", SEED, "-o", "xml")
        assert ran.code == 2
        assert "'xml' is not one of table, json, yaml, helm-values, args" in ran.err

    def test_unknown_fields_with_the_nearest_known_ones(
        self, shell: Shell, manifest: Manifest
    ) -> None:
        path = manifest(quantisation="sym_int4", gpu={"typ": "arc-a770-16g"})
        ran = shell("plan", "-f", path)
        assert ran.code == 2
        assert ran.err.splitlines() == [
            f"error: {path}: demo:",
            "  spec.gpu.typ = arc-a770-16g: unknown field: did you mean `type`?",
            "  spec.quantisation = sym_int4: unknown field: did you mean `quantization`?",
        ]

    def test_the_others_are_planned_all_the_same(self, shell: Shell, manifest: Manifest) -> None:
        wrong = manifest(name="one", replicas=-1, quantisation="fp8")
        ran = shell(
            "plan", "-f", wrong, "-f", manifest(name="two", gpu=5), "-f", SEED, "-o", "json"
        )
        assert (ran.code, [value["name"] for value in ran.json]) == (2, ["qwen2-7b"])
        told = [line for line in ran.err.splitlines() if line.startswith("  ")]
        assert told == [
            "  spec.replicas = -1: must be at least 0",
            "  spec.quantisation = fp8: unknown field: did you mean `quantization`?",
            "  spec.gpu = 5: must be a mapping",
        ]

    def test_an_unknown_card(self, shell: Shell) -> None:
        ran = shell("plan", "-f", SEED, "--gpu", "b60")
        said = "error: --gpu: 'b60' isn't in the catalogue; nearest: arc-pro-b60\n"
        assert (ran.code, ran.out, ran.err) == (2, "", said)

    def test_a_folder_is_its_manifests_by_name(self, shell: Shell) -> None:
        ran = shell("plan", "-f", str(EXAMPLES), "-o", "json")
        told = [Path(value["source"]).name for value in ran.json]
        assert (ran.code, told) == (0, sorted(path.name for path in EXAMPLES.glob("*.yaml")))

    def test_a_list_as_kubectl_prints_it(self, shell: Shell, tmp_path: Path) -> None:
        item = yaml.safe_load(Path(SEED).read_text())
        path = tmp_path / "list.json"
        path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [item, item]}))
        assert len(shell("plan", "-f", str(path), "-o", "json").json) == 2

    def test_standard_input_is_a_dash(self, shell: Shell) -> None:
        ran = shell("plan", "-f", "-", "-o", "json", stdin=Path(SEED).read_bytes())
        assert (ran.code, ran.json["source"]) == (0, "-")


class TestConfig:
    def test_a_model_that_nobody_knows(self, shell: Shell, manifest: Manifest) -> None:
        ran = shell("plan", "-f", manifest(model="me/mine"))
        assert ran.code == 2
        assert "refused (UnknownModel)" in ran.out
        assert "--config" in ran.out

    def test_its_config_json_makes_it_known(
        self, shell: Shell, manifest: Manifest, tmp_path: Path
    ) -> None:
        path = tmp_path / "config.json"
        path.write_text(json.dumps(CONFIG))
        ran = shell("plan", "-f", manifest(model="me/mine"), "--config", str(path), "-o", "json")
        assert (ran.code, ran.json["result"]) == (0, "plan")

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            ("x", "not JSON"),
            ("[]", "must be a JSON object (a model's config.json)"),
            ("[" * 100_000, "not JSON"),
        ],
    )
    def test_what_is_no_config(
        self, shell: Shell, manifest: Manifest, tmp_path: Path, content: str, says: str
    ) -> None:
        path = tmp_path / "config.json"
        path.write_text(content)
        ran = shell("plan", "-f", manifest(model="me/mine"), "--config", str(path))
        assert ran.code == 2
        assert f"{path}: " in ran.err
        assert says in ran.err

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("num_hidden_layers", 0), ("hidden_size", None), ("hidden_size", "2048"),
            ("vocab_size", float("nan")), ("intermediate_size", -1),
            ("num_hidden_layers", 10**14), ("num_attention_heads", []),
        ],
    )  # fmt: skip
    def test_a_bad_field_is_named_with_its_file(
        self, shell: Shell, manifest: Manifest, tmp_path: Path, field: str, value: object
    ) -> None:
        path = tmp_path / "config.json"
        path.write_text(json.dumps({**CONFIG, field: value}))
        ran = shell("plan", "-f", manifest(model="me/mine"), "--config", str(path), "-o", "json")
        assert (ran.code, ran.json["reason"]) == (2, "InvalidModelFacts")
        assert ran.json["field"] == f"{path}: {field}"
        assert field in ran.json["message"]

    def test_a_config_of_ten_megabytes(
        self, shell: Shell, manifest: Manifest, tmp_path: Path
    ) -> None:
        path = tmp_path / "config.json"
        padding = {"quantization_config": {"note": "x" * (10 * 1000 * 1000)}}
        path.write_text(json.dumps({**CONFIG, "unused": padding}))
        ran = shell("plan", "-f", manifest(model="me/mine"), "--config", str(path), "-o", "json")
        assert (ran.code, ran.json["result"]) == (0, "plan")

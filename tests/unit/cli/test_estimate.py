"""`xpullm estimate`: one row or many, and rows that are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cli.shell import Shell

KEYS = [
    "id", "starts", "safe", "reason", "weights_gib", "activation_peak_gib", "non_torch_gib",
    "kv_cache_gib", "kv_cache_tokens", "max_model_len_fits",
]  # fmt: skip


def row(**changes: Any) -> dict[str, Any]:
    """Qwen2.5-0.5B on vLLM 0.25 with 24 GiB."""
    return {
        "id": "one", "engine": "vllm", "engine_version": "0.25.0", "quantization": None,
        "config": {
            "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 896,
            "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14,
            "num_key_value_heads": 2, "vocab_size": 151936, "tie_word_embeddings": True,
            "max_position_embeddings": 32768, "torch_dtype": "bfloat16",
        },
        "device_total_gib": 24, "context_gib": 0.5,
        "args": {"max_num_batched_tokens": 2048, "max_num_seqs": 4, "max_model_len": 2048,
                 "gpu_memory_utilization": 0.8, "enforce_eager": True},
        **changes,
    }  # fmt: skip


def lines(*rows: object) -> bytes:
    return b"".join(r if isinstance(r, bytes) else json.dumps(r).encode() + b"\n" for r in rows)


class TestBatch:
    def test_rows_of_a_file(self, shell: Shell, tmp_path: Path) -> None:
        path = tmp_path / "rows.jsonl"
        path.write_bytes(lines(row(id="a"), row(id="b")))
        ran = shell("estimate", "--batch", "-f", str(path), "-o", "json")
        assert (ran.code, [json.loads(x)["id"] for x in ran.out.splitlines()]) == (0, ["a", "b"])

    def test_a_file_that_cannot_be_read(self, shell: Shell) -> None:
        ran = shell("estimate", "--batch", "-f", "no/rows.jsonl")
        assert (ran.code, ran.err) == (2, "error: no/rows.jsonl: No such file or directory\n")

    def test_one_answer_for_each_row_in_order(self, shell: Shell) -> None:
        ran = shell("estimate", "--batch", stdin=lines(row(id="a"), b"\n", row(id="b")))
        answers = [json.loads(line) for line in ran.out.splitlines()]
        assert ran.code == 0
        assert [list(answer) for answer in answers] == [KEYS, KEYS]
        assert [answer["id"] for answer in answers] == ["a", "b"]
        # 24 layers and one vocabulary of 896 columns, 494.03 million parameters in 16 bit.
        assert answers[0]["weights_gib"] == pytest.approx(494_032_768 * 2 / 2**30, rel=0.01)
        assert answers[0]["starts"] is True
        assert answers[0]["safe"] is True

    @pytest.mark.parametrize(
        ("line", "says"),
        [
            (b"x\n", "not a JSON row"),
            (b"[1]\n", "must be a JSON object, is list"),
            (b"\xff\xfe\n", "not a JSON row"),
            (b"[" * 100_000 + b"\n", "not a JSON row"),
            (lines({"id": "z"}), "config"),
            (lines(row(engine="sglang")), "isn't in the catalogue"),
            (lines(row(quantization="int1")), "quantization 'int1' isn't in the catalogue"),
            (lines(row(args={"max_num_seqs": "many"})), "args.max_num_seqs"),
            (lines(row(device_total_gib=None)), "device_total_gib"),
        ],
    )
    def test_a_bad_row_does_not_end_the_batch(self, shell: Shell, line: bytes, says: str) -> None:
        ran = shell("estimate", "--batch", stdin=line + lines(row(id="after")))
        bad, good = map(json.loads, ran.out.splitlines())
        assert ran.code == 0
        assert list(bad) == KEYS
        assert (bad["starts"], bad["safe"], bad["weights_gib"]) == (None, None, None)
        assert says in bad["reason"]
        assert (good["id"], good["starts"]) == ("after", True)

    def test_a_bad_row_without_id_is_named_by_its_line(self, shell: Shell) -> None:
        nameless = row(device_total_gib=None)
        del nameless["id"]
        ran = shell("estimate", "--batch", stdin=lines(row(), b"\n", nameless, b"x\n", row()))
        reasons = [json.loads(line)["reason"] for line in ran.out.splitlines()]
        assert reasons[1].startswith("line 3: device_total_gib is missing")
        assert reasons[2].startswith("line 4: not a JSON row")
        assert (reasons[0], reasons[3]) == ("", "")

    def test_a_row_that_is_too_long_is_answered_once(
        self, shell: Shell, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("xpullm.cli.inputs.MAX_ROW_BYTES", 4096)
        ran = shell("estimate", "--batch", stdin=b"x" * 20_000 + b"\n" + lines(row(id="after")))
        bad, good = map(json.loads, ran.out.splitlines())
        assert "4096 bytes" in bad["reason"]
        assert good["id"] == "after"


class TestOneRow:
    def ran(self, shell: Shell, tmp_path: Path, content: str) -> tuple[int, str, str]:
        path = tmp_path / "row.json"
        path.write_text(content)
        ran = shell("estimate", "-f", str(path))
        return ran.code, ran.out, ran.err

    def test_safe_is_zero(self, shell: Shell, tmp_path: Path) -> None:
        code, out, _ = self.ran(shell, tmp_path, json.dumps(row(), indent=2))
        assert (code, json.loads(out)["safe"]) == (0, True)

    def test_what_starts_and_may_die_is_a_finding(self, shell: Shell, tmp_path: Path) -> None:
        tight = row(args={**row()["args"], "gpu_memory_utilization": 0.97})
        code, out, _ = self.ran(shell, tmp_path, json.dumps(tight))
        answer = json.loads(out)
        assert (code, answer["starts"], answer["safe"]) == (3, True, False)

    def test_what_does_not_start_is_a_finding(self, shell: Shell, tmp_path: Path) -> None:
        code, out, _ = self.ran(shell, tmp_path, json.dumps(row(device_total_gib=1)))
        assert (code, json.loads(out)["starts"]) == (3, False)

    def test_what_is_no_row_is_invalid(self, shell: Shell, tmp_path: Path) -> None:
        code, out, _ = self.ran(shell, tmp_path, "{")
        assert (code, json.loads(out)["starts"]) == (2, None)

    def test_an_empty_file_is_invalid(self, shell: Shell, tmp_path: Path) -> None:
        code, _, err = self.ran(shell, tmp_path, "\n")
        assert (code, err) == (
            2, f"error: {tmp_path / 'row.json'}: empty; a row is a JSON object\n",
        )  # fmt: skip

    def test_no_row_at_all(self, shell: Shell) -> None:
        ran = shell("estimate")
        assert (ran.code, ran.err) == (
            2, "error: give --batch (rows on standard input) or --file ROW.json\n",
        )  # fmt: skip

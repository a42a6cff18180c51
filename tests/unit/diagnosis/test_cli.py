"""`xpullm diagnose` on logs, manifests, pods and batches."""

import json
from types import SimpleNamespace

import pytest
import yaml
from tests.unit.diagnosis.logs import DEAD, OOM, READY, core, log
from typer.testing import CliRunner

from xpullm.cli.main import build

LOG = log(READY, core(OOM), DEAD)
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "qwen-0", "uid": "u1"},
    "status": {
        "containerStatuses": [
            {
                "name": "engine",
                "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137}},
            }
        ]
    },
}


def run(*args, stdin=""):
    return CliRunner().invoke(build(["diagnose"]), ["diagnose", *args], input=stdin)


def test_a_log_for_people(tmp_path):
    (tmp_path / "engine.log").write_text(LOG)
    done = run(str(tmp_path / "engine.log"), "--exit-code", "1", "--engine", "ipex-llm 0.8.3")
    assert done.exit_code == 3
    assert "device_oom_runtime (Out of device memory under load)" in done.stdout
    assert "  operator    would lower max-num-batched-tokens\n" in done.stdout
    assert f"    > {core(OOM)}"[:120] in done.stdout
    assert "tried 0.75 GiB" in done.stdout


def test_standard_input_as_json():
    done = run("-", "-o", "json", "--exit-code", "1", stdin=LOG)
    assert done.exit_code == 3
    answer = json.loads(done.stdout)
    assert (answer["cause"], answer["phase"], answer["actionable"]) == (
        "device_oom_runtime", "runtime", True,
    )  # fmt: skip
    assert answer["figures"]["tried_bytes"] == 772 * 2**20
    assert answer["first_move"] == "lower kv-cache-memory-bytes"


def test_a_log_alone_says_what_is_missing_before_anything_would_change():
    done = run("-", stdin=LOG)
    assert "only once the engine is dead" in " ".join(done.stdout.split())


@pytest.mark.parametrize("document", [POD, {"kind": "List", "items": [POD]}])
def test_a_pods_manifest(tmp_path, document):
    (tmp_path / "pod.yaml").write_text(yaml.safe_dump(document))
    done = run("-f", str(tmp_path / "pod.yaml"), "-o", "json")
    assert done.exit_code == 3
    assert json.loads(done.stdout)["cause"] == "host_oom"
    assert json.loads(done.stdout)["source"] == "pod qwen-0"


def test_nothing_failed(tmp_path):
    (tmp_path / "a.log").write_text(READY)
    assert run(str(tmp_path / "a.log")).exit_code == 0


def test_an_end_without_a_cause_is_a_finding(tmp_path):
    (tmp_path / "a.log").write_text(READY)
    assert run(str(tmp_path / "a.log"), "--exit-code", "1").exit_code == 3


def test_a_batch_answers_every_row():
    rows = [
        json.dumps({"id": "a", "log": LOG, "exit_code": 1}), "", "not json", "[1]",
        json.dumps({"id": "b", "pod": POD}),
    ]  # fmt: skip
    done = run("--batch", stdin="\n".join(rows))
    assert done.exit_code == 0
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(one["id"], one["cause"]) for one in answers] == [
        ("a", "device_oom_runtime"), (None, "unknown"), (None, "unknown"), ("b", "host_oom"),
    ]  # fmt: skip
    assert set(answers[0]) == {"id", "cause", "phase", "helps", "first_move", "evidence"}

    assert [one.get("reason", "")[:23] for one in answers] == [
        "", "line 3: not a JSON row:", "line 4: not a JSON row:", "",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("told", "answered"),
    [("NaN", None), ("-Infinity", None), ("1e999", None), ('[1, {"a": NaN}]', [1, {"a": None}])],
)
@pytest.mark.parametrize("command", ["diagnose", "estimate"])
def test_an_answer_is_json_even_where_the_row_is_not(command, told, answered):
    done = CliRunner().invoke(build([command]), [command, "--batch"], input=f'{{"id": {told}}}')

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    assert json.loads(done.stdout, parse_constant=refuse)["id"] == answered


def test_a_pod_without_a_name(tmp_path):
    (tmp_path / "pod.yaml").write_text("kind: Pod\nmetadata: 5\nstatus: []\n")
    done = run("-f", str(tmp_path / "pod.yaml"))
    assert (done.exit_code, done.stdout.splitlines()[0]) == (
        0, "pod ?: unknown (The cause was not found)",
    )  # fmt: skip


@pytest.mark.parametrize(("setting", "coloured"), [("", True), ("1", False)])
def test_no_colour_where_it_is_unwanted(monkeypatch, setting, coloured):
    monkeypatch.setenv("NO_COLOR", setting)
    asked = CliRunner().invoke(build(["diagnose"]), ["diagnose", "-"], input=LOG, color=True)
    assert ("\x1b" in asked.stdout) == coloured


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["/does/not/exist"], "No such file"),
        (["-o", "xml", "-"], "--output"),
        (["-n", "ns"], "needs the name of a pod"),
        (["-f", "/does/not/exist"], "No such file"),
        (["--batch", "/does/not/exist"], "No such file"),
    ],
)
def test_bad_input_is_named(args, message):
    done = run(*args)
    assert done.exit_code == 2
    assert message in done.output


def test_a_manifest_without_a_pod(tmp_path):
    (tmp_path / "x.yaml").write_text("kind: Service")
    done = run("-f", str(tmp_path / "x.yaml"))
    assert done.exit_code == 2
    assert "holds no Pod" in done.output


def test_colours_and_control_characters_of_a_log_do_not_reach_the_terminal():
    done = run("-", "--exit-code", "1", stdin=log(READY, core("\x1b]0;title\x07" + OOM), DEAD))
    assert "\x1b]" not in done.stdout
    assert "\x07" not in done.stdout


class Core:
    """What of the client library is used: raw answers."""

    def read_namespaced_pod(self, name, namespace, **_):
        return SimpleNamespace(data=json.dumps(POD).encode())

    def list_namespaced_event(self, namespace, field_selector, **_):
        assert field_selector == "involvedObject.uid=u1"
        return SimpleNamespace(data=b'{"items": [{"reason": "BackOff"}]}')

    def read_namespaced_pod_log(self, name, namespace, container, previous, **_):
        assert (container, previous) == ("engine", True)
        return SimpleNamespace(data=LOG.encode())


@pytest.mark.timeout(30)  # the client library's import
def test_a_live_pod(monkeypatch):
    from kubernetes import client, config

    monkeypatch.setattr(config, "load_kube_config", lambda: None)
    monkeypatch.setattr(client, "CoreV1Api", Core)
    done = run("-n", "ns", "qwen-0", "-o", "json")
    assert (done.exit_code, json.loads(done.stdout)["cause"]) == (3, "host_oom")

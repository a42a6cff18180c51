"""Each rule of the schema, on a real API server: one accepted and one rejected manifest."""

from __future__ import annotations

import itertools
import uuid

import pytest
from tests.contract.api_client import Answer, ApiClient
from tests.contract.manifests import llmdeployment, minimal, with_value
from tests.contract.rows import Row
from tests.contract.schema_walk import rules
from tests.contract.table import NAME_RULE, TABLE

from xpullm.api import LLMDeployment, TuningRecord
from xpullm.api.crd import openapi

cluster_test = pytest.mark.cluster


def test_table_has_a_row_for_every_rule_and_no_other() -> None:
    stated = {
        (kind.__name__, *rule)
        for kind in (LLMDeployment, TuningRecord)
        for part in ("spec", "status")
        for rule in rules(openapi(kind)["properties"][part], part)
    }
    tried = {(kind, row.path, row.rule) for kind, row in TABLE}
    assert sorted(stated - tried) == []
    assert sorted(tried - stated) == []


def sent(api: ApiClient, kind: str, row: Row, value: object, namespace: str) -> Answer:
    """The value at its place, as a dry run: created; or, where something must be stored before
    (a status, a transition), merged. Not by server-side apply, whose merge fails before any
    validation where a list's key is missing or twice."""
    if row.path.startswith("status"):
        api.apply(minimal(kind, "bare", "spec"), namespace)
        manifest = with_value(kind, row.where, value)
        return api.merge(
            kind, namespace, "bare/status", {"status": manifest["status"]}, dry_run=True
        )
    if row.before is not None:
        name = f"before-{uuid.uuid4().hex[:8]}"
        before = with_value(kind, row.where, row.before, name)
        assert api.create(before, namespace).code == 201
        after = with_value(kind, row.where, value, name)
        return api.merge(kind, namespace, name, {"spec": after["spec"]}, dry_run=True)
    return api.create(with_value(kind, row.where, value), namespace, dry_run=True)


@cluster_test
@pytest.mark.parametrize(("kind", "row"), TABLE, ids=lambda value: str(value))
def test_rule_accepts_and_rejects(api: ApiClient, namespace: str, kind: str, row: Row) -> None:
    accepted = sent(api, kind, row, row.accepted, namespace)
    assert accepted.code in (200, 201), accepted.message
    rejected = sent(api, kind, row, row.rejected, namespace)
    assert rejected.code == 422, rejected
    assert row.message in rejected.message


@cluster_test
@pytest.mark.parametrize("name", ["a", "qwen2-7b", "a" * 50])
def test_name_is_a_dns_label(api: ApiClient, namespace: str, name: str) -> None:
    assert api.apply(llmdeployment(name), namespace, dry_run=True).code == 201


@cluster_test
@pytest.mark.parametrize("name", ["qwen2.5", "a" * 51, "7b"])
def test_other_names_are_refused(api: ApiClient, namespace: str, name: str) -> None:
    answer = api.apply(llmdeployment(name), namespace, dry_run=True)
    assert answer.code == 422
    assert NAME_RULE in answer.message


def test_messages_of_cel_rules_name_a_field_and_say_must() -> None:
    messages = [rule for _, rule in itertools.chain(
        *(rules(openapi(kind), "") for kind in (LLMDeployment, TuningRecord))
    ) if rule.startswith("cel:")]  # fmt: skip
    assert len(messages) == 38
    for message in messages:
        assert message.startswith("cel:`")
        assert " must " in message

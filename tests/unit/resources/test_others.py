"""Service, model cache and claim template."""

from __future__ import annotations

from tests.unit.resources import builders

from xpullm import catalog
from xpullm.resources import gpu, others


def test_the_service_selects_the_pods_and_nothing_that_changes() -> None:
    built = others.service(
        builders.manifest(), builders.llmd(service={"type": "NodePort", "port": 80})
    )
    assert built["spec"] == {
        "type": "NodePort",
        "selector": {"xpullm.io/deployment": "qwen2-7b"},
        "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": "http"}],
    }
    assert others.endpoint(builders.llmd()) == "http://qwen2-7b.default.svc:8000/v1"


def cache(size: str) -> dict[str, object]:
    claim = {"size": size, "storageClassName": "fast"}
    return {"id": "Qwen/Qwen2-7B-Instruct", "cache": {"persistentVolumeClaim": claim}}


def test_a_cache_only_grows() -> None:
    def size(wanted: str, stored: str | None) -> str:
        live = {"spec": {"resources": {"requests": {"storage": stored}}}} if stored else None
        built = others.cache_claim(builders.manifest(), builders.llmd(model=cache(wanted)), live)
        assert built is not None
        assert built["metadata"]["name"] == "qwen2-7b-model-cache"
        assert built["spec"]["accessModes"] == ["ReadWriteOnce"]
        assert built["spec"]["storageClassName"] == "fast"
        return str(built["spec"]["resources"]["requests"]["storage"])

    assert size("1024Mi", None) == "1Gi"
    assert size("50Gi", "20Gi") == "50Gi"
    assert size("20Gi", "50Gi") == "50Gi"
    assert size("20Gi", "rubbish") == "20Gi"


def test_without_a_size_there_is_no_claim_of_ours() -> None:
    assert others.cache_claim(builders.manifest(), builders.llmd(), None) is None


def test_a_claim_template_tells_boards_with_one_id_apart_by_memory() -> None:
    cards = catalog.gpus()
    spec = gpu.claim_template_spec(cards["arc-a770-16g"], 2, cards.values())
    (request,) = spec["spec"]["devices"]["requests"]
    assert request["exactly"]["deviceClassName"] == "gpu.intel.com"
    assert request["exactly"]["count"] == 2
    (selector,) = request["exactly"]["selectors"]
    assert selector["cel"]["expression"] == (
        'device.attributes["gpu.intel.com"].pciId in ["0x56a0"]'
        ' && (device.capacity["gpu.intel.com"].memory.compareTo(quantity("0")) == 0'
        ' || device.capacity["gpu.intel.com"].memory.compareTo(quantity("15371285300")) >= 0'
        ' && device.capacity["gpu.intel.com"].memory.compareTo(quantity("18787126476")) <= 0)'
    )
    alone = gpu.device_rule(cards["arc-pro-b60"], cards.values())
    assert alone.expression == 'device.attributes["gpu.intel.com"].pciId in ["0xe211"]'


def test_a_claim_templates_name_follows_its_content() -> None:
    cards = catalog.gpus()
    name = others.claim_template_name("a", cards["arc-pro-b60"], 1, cards.values())
    assert name == others.claim_template_name("a", cards["arc-pro-b60"], 1, cards.values())
    assert name != others.claim_template_name("a", cards["arc-pro-b60"], 2, cards.values())
    assert len(others.claim_template_name("x" * 50, cards["arc-pro-b60"], 1, cards.values())) <= 63


def test_a_nodes_own_label_wins_over_its_pci_ids() -> None:
    cards = catalog.gpus()
    pci = {"gpu.intel.com/device-id.0300-56a0.present": "true"}

    def has(card: str, labels: dict[str, str] | None) -> bool:
        return gpu.node_has({"metadata": {"labels": labels}}, cards[card])

    assert has("arc-a770-16g", pci)
    assert has("arc-a770-8g", pci)  # ambiguous: pre-flight decides
    assert not has("arc-a770-8g", pci | {"xpullm.io/gpu-type": "arc-a770-16g"})
    assert has("arc-a770-16g", {"xpullm.io/gpu-type": "arc-a770-16g"})
    assert not has("arc-a770-16g", None)

"""Is what runs what is wanted? Only leaves that we set are compared, by value.

The API server adds defaults, other managers add fields and list items, and quantities come back
in another spelling (``1024Mi`` as ``1Gi``). A field that we set once and no longer want cannot be
told from one that was never ours; so every object carries a hash of what was last applied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xpullm.api import GROUP, parse_quantity
from xpullm.controller.types import Object
from xpullm.resources import codec

APPLIED_HASH = f"{GROUP}/applied-hash"

# Lists that other managers may extend, and what identifies an item
# (x-kubernetes-list-map-keys in Kubernetes' OpenAPI). All other lists are ours as a whole.
_LIST_KEYS: Mapping[str, tuple[str, ...]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "volumes": ("name",),
    "env": ("name",),
    "imagePullSecrets": ("name",),
    "resourceClaims": ("name",),
    "claims": ("name",),
    "volumeMounts": ("mountPath",),
    "volumeDevices": ("devicePath",),
    "hostAliases": ("ip",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    "ownerReferences": ("uid",),
}
_PORT_KEYS = ("containerPort", "port")  # containers have the one, Services the other
_QUANTITY_MAPS = frozenset({"requests", "limits", "capacity", "overhead", "divisor"})
_QUANTITY_FIELDS = frozenset({"sizeLimit", "divisor"})


def applied_hash(obj: Object) -> str:
    """Hash of a manifest, independent of the order of its keys."""
    return codec.digest(obj)


def with_hash(obj: Object) -> dict[str, Any]:
    """The manifest with the hash of itself among its annotations."""
    metadata = obj["metadata"]
    annotations = {**metadata.get("annotations", {}), APPLIED_HASH: applied_hash(obj)}
    return {**obj, "metadata": {**metadata, "annotations": annotations}}


def holds(wanted: Any, live: Any, field: str = "") -> bool:
    """Whether every leaf of ``wanted`` is in ``live`` with the same value."""
    if isinstance(wanted, Mapping):
        if not wanted:
            return live is None or isinstance(live, Mapping)  # emptyDir: {} and the like
        if not isinstance(live, Mapping):
            return False
        if field in _QUANTITY_MAPS:
            return all(_same_quantity(v, live.get(k)) for k, v in wanted.items())
        return all(holds(v, live.get(k), k) for k, v in wanted.items())
    if isinstance(wanted, Sequence) and not isinstance(wanted, str):
        return _list_holds(wanted, live, field)
    if field in _QUANTITY_FIELDS:
        return _same_quantity(wanted, live)
    return bool(wanted == live) and isinstance(wanted, bool) == isinstance(live, bool)


def _list_holds(wanted: Sequence[Any], live: Any, field: str) -> bool:
    if not wanted:
        return not live
    if not isinstance(live, Sequence) or isinstance(live, str):
        return False
    keys = _LIST_KEYS.get(field, ())
    if field == "ports":
        keys = tuple(key for key in _PORT_KEYS if key in wanted[0])
    if not keys:
        return len(wanted) == len(live) and all(
            holds(a, b) for a, b in zip(wanted, live, strict=True)
        )
    return all(any(_identifies(keys, item, other) for other in live) for item in wanted)


def _identifies(keys: tuple[str, ...], wanted: Mapping[str, Any], live: Mapping[str, Any]) -> bool:
    return all(wanted.get(k) == live.get(k) for k in keys) and holds(wanted, live)


def _same_quantity(wanted: Any, live: Any) -> bool:
    if wanted == live:
        return True
    try:
        return parse_quantity(str(wanted)) == parse_quantity(str(live))
    except ValueError:
        return False

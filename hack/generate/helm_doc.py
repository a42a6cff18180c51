"""docs/helm.md: the chart's values, from values.yaml and the comments above them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

VALUES = Path(__file__).resolve().parents[2] / "charts" / "xpullm" / "values.yaml"

HEAD = """\
# The Helm chart

Made from `charts/xpullm/values.yaml` by `make generate`; do not edit.

```console
helm install xpullm charts/xpullm -n xpullm-system --create-namespace \\
  --set image.repository=REGISTRY/xpullm
```

Needs Kubernetes ≥ 1.32 and Helm 3 or 4.

**CRDs** are templates of the chart, so `helm upgrade` upgrades them. With `crds.keep` (the default)
they stay when the release is uninstalled, and every LLMDeployment with them; models go on
serving. A release of the same name and namespace adopts them; for another one, or where they were
applied by hand (`xpullm crd | kubectl apply --server-side -f -`), add `--take-ownership` or
`--set crds.enabled=false`.

**Upgrades** of the operator re-roll no model. After an uninstall the Lease may be held for up to 15
seconds more, because the right to give it back went with the release.

**Rights.** No rule has a wildcard, and none reads Secrets or logs. Events are created, and listed
for a pod that does not start or was killed without a word. With `watchNamespaces` the operator gets
a Role in each of them; cluster-wide it then only reads nodes and what drivers publish about cards.
The pod fits restricted Pod Security: user 65532, read-only root, no capabilities.

**Where the API server's Service is not reachable** from pods, set `KUBERNETES_SERVICE_HOST` and
`KUBERNETES_SERVICE_PORT` by `extraEnv`, or `hostNetwork`.

**Before an uninstall with `crds.keep=false`**: it deletes every LLMDeployment and what serves them.

## Values

An unknown value is refused.

| Value | Default | Meaning |
|---|---|---|
"""


def helm_reference() -> str:
    """The whole document.

    Raises:
        ValueError: a value has no comment.
    """
    text = VALUES.read_text(encoding="utf-8")
    meanings = comments(text)
    rows = []
    for path, value in leaves(yaml.safe_load(text), meanings):
        if not meanings.get(path):
            raise ValueError(f"{VALUES.name}: `{path}` has no comment above it")
        default = json.dumps(value, ensure_ascii=False)
        rows.append(f"| `{path}` | `{default}` | {meanings[path]} |\n")
    return HEAD + "".join(rows)


def leaves(
    values: dict[str, Any], meanings: dict[str, str], path: str = ""
) -> Iterator[tuple[str, Any]]:
    """(path, default) of each value; a map with a comment of its own is one value."""
    for name, value in values.items():
        here = f"{path}.{name}" if path else name
        if isinstance(value, dict) and value and not meanings.get(here):
            yield from leaves(value, meanings, here)
        else:
            yield here, value


def comments(text: str) -> dict[str, str]:
    """The comment directly above each key of a values file, by the key's path.

    Reads what values.yaml uses of YAML: block maps, two spaces of indent.
    """
    found: dict[str, str] = {}
    path: list[str] = []
    lines: list[str] = []
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("#"):
            lines.append(stripped.lstrip("# "))
            continue
        if stripped:
            depth = (len(line) - len(line.lstrip())) // 2
            path = [*path[:depth], stripped.partition(":")[0]]
            found[".".join(path)] = " ".join(lines)
        lines = []
    return found

"""docs/metrics.md: what the operator and the supervisors in engine pods show Prometheus."""

from __future__ import annotations

import re

from xpullm.controller.metrics import Metrics
from xpullm.resources import names
from xpullm_runtime.config import RuntimeConfig
from xpullm_runtime.httpd import prometheus
from xpullm_runtime.state import State

HEAD = """\
# Metrics

Made from the programs' own descriptions by `make generate`; do not edit.

## Of the operator

Port `metrics` (8080) of its pod, `/metrics`; the chart makes a Service, and with
`metrics.podMonitor` a PodMonitor. No label names an object, so their number does not grow with the
fleet.

| Metric | Type | Labels | Meaning |
|---|---|---|---|
"""

ENGINES = names.labels("")["app.kubernetes.io/name"]
SUPERVISOR = f"""
## Of an engine pod

The supervisor serves them on port `{names.RUNTIME_PORT_NAME}` ({RuntimeConfig().runtime_port}),
the engine its own on port `{names.ENGINE_PORT_NAME}` ({RuntimeConfig().engine_port}), both at
`/metrics`. For the Prometheus operator:

```yaml
apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata: {{name: engines}}
spec:
  selector:
    matchLabels: {{app.kubernetes.io/name: {ENGINES}}}
  podMetricsEndpoints:
  - {{port: {names.RUNTIME_PORT_NAME}}}
  - {{port: {names.ENGINE_PORT_NAME}}}
```

| Metric | Type | Labels | Meaning |
|---|---|---|---|
"""


def metrics_reference() -> str:
    """The whole document."""
    return HEAD + "".join(map(_row, _operators())) + SUPERVISOR + "".join(map(_row, _supervisors()))


Metric = tuple[str, str, str, str]  # name, type, labels, meaning


def _operators() -> list[Metric]:
    # Labels show only once something was counted, so they are asked of the metric.
    metrics = vars(Metrics()).values()
    found = []
    for metric in metrics:
        if hasattr(metric, "describe"):
            (family,) = metric.describe()
            name = family.name + "_total" * (family.type == "counter")
            labels = ", ".join(getattr(metric, "_labelnames", ()))
            found.append((name, family.type, labels, f"{family.documentation}."))
    return found


def _supervisors() -> list[Metric]:
    state = State(RuntimeConfig())
    state.ready_after, state.figures = 1.0, {"kv_cache_tokens": 1}
    state.output_bytes.setdefault("stdout", 1)
    text = prometheus(state)
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    found = []
    for name, meaning in re.findall(r"^# HELP (\S+) (.*)$", text, re.MULTILINE):
        sample = re.search(rf"^{name}\{{(.*)\}} ", text, re.MULTILINE)
        labels = ", ".join(re.findall(r"(\w+)=", sample[1])) if sample else ""
        found.append((name, types[name], labels, meaning))
    return found


def _row(metric: Metric) -> str:
    name, kind, labels, meaning = metric
    return f"| `{name}` | {kind} | {labels} | {meaning} |\n"

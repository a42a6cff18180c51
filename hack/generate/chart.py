"""The chart's copies of the CRDs: templates, so that Helm upgrades them and can keep them."""

from __future__ import annotations

_KEEP = """metadata:
  {{- if .Values.crds.keep }}
  annotations:
    helm.sh/resource-policy: keep
  {{- end }}
"""


def crd_template(crd: str) -> str:
    """A CRD's YAML as a template behind `crds.enabled`, annotated where `crds.keep`."""
    escaped = crd.replace("{{", '{{ "{{" }}')
    return (
        "{{- if .Values.crds.enabled }}\n"
        + escaped.replace("metadata:\n", _KEEP, 1)
        + "{{- end }}\n"
    )

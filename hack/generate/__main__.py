"""``python -m hack.generate``: what is checked in but made from something else."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hack.generate import flags, flagvalues, openapi
from hack.generate.catalogue_doc import catalogue
from hack.generate.chart import crd_template
from hack.generate.docs import api_reference
from hack.generate.failures_doc import failures
from hack.generate.helm_doc import helm_reference
from hack.generate.metrics_doc import metrics_reference

from xpullm.api.crd import custom_resource_definitions, to_yaml

ROOT = Path(__file__).resolve().parents[2]
KUBERNETES_SCHEMA = ROOT / "operator/xpullm/api/kubernetes_schema/core-v1.json"


def generated() -> dict[Path, str]:
    """Every file that is made from this repository alone, with its content."""
    crds = custom_resource_definitions()
    files = {
        ROOT / "docs" / "api.md": api_reference(crds),
        ROOT / "docs" / "catalogue.md": catalogue(),
        ROOT / "docs" / "failures.md": failures(),
        ROOT / "docs" / "helm.md": helm_reference(),
        ROOT / "docs" / "metrics.md": metrics_reference(),
    }
    for crd in crds:
        name, text = crd["metadata"]["name"], to_yaml(crd)
        files[ROOT / "crds" / f"{name}.yaml"] = text
        files[ROOT / "charts/xpullm/templates/crds" / f"{name}.yaml"] = crd_template(text)
    return files


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m hack.generate", description=__doc__)
    commands = parser.add_subparsers(dest="command")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if not current")
    kubernetes = commands.add_parser("kubernetes", help="renew the embedded Kubernetes types")
    kubernetes.add_argument("swagger", type=Path, help="api/openapi-spec/swagger.json")
    kubernetes.add_argument("version", help="the Kubernetes version it is of, as v1.36.3")
    commands.add_parser("flags", help="renew the flags and what they take, from the package index")
    arguments = parser.parse_args()
    if arguments.command == "flags":
        flags.TARGET.write_text(flags.generated(), encoding="utf-8")
        flagvalues.TARGET.write_text(flagvalues.generated(), encoding="utf-8")
        return 0
    if arguments.command == "kubernetes":
        openapi.write(arguments.swagger, KUBERNETES_SCHEMA, arguments.version)
        return 0
    stale = {path: text for path, text in generated().items() if _read(path) != text}
    for path, text in stale.items():
        print(f"{'stale' if arguments.check else 'wrote'} {path.relative_to(ROOT)}")
        if not arguments.check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return 1 if stale and arguments.check else 0


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


if __name__ == "__main__":
    sys.exit(main())

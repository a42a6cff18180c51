"""A small client that shows the API server's own answers: status, causes, warnings."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

Json = dict[str, Any]
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"


@dataclass(frozen=True, slots=True)
class Answer:
    code: int
    body: Json

    @property
    def message(self) -> str:
        return str(self.body.get("message", ""))


class ApiClient:
    """Talks to the server of a kubeconfig with client certificates, over one connection."""

    def __init__(self, kubeconfig: Path) -> None:
        config = json.loads(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        context = ssl.create_default_context(cadata=authority)
        with tempfile.TemporaryDirectory() as folder:
            pair = Path(folder, "pair.pem")
            pair.write_bytes(
                base64.b64decode(user["client-certificate-data"])
                + base64.b64decode(user["client-key-data"])
            )
            context.load_cert_chain(pair)
        self._connection = http.client.HTTPSConnection(
            str(urlsplit(cluster["server"]).netloc), context=context, timeout=30
        )

    def request(self, method: str, path: str, body: Json | None = None, **headers: str) -> Answer:
        data = None if body is None else json.dumps(body)
        sent = {"Content-Type": "application/json", **headers}
        try:
            return self._ask(method, path, data, sent)
        except (http.client.HTTPException, OSError):
            # The server ends a connection that was idle for long; a new one is opened by itself.
            self._connection.close()
            return self._ask(method, path, data, sent)

    def _ask(self, method: str, path: str, data: str | None, headers: dict[str, str]) -> Answer:
        self._connection.request(method, path, data, headers)
        response = self._connection.getresponse()
        return Answer(response.status, json.loads(response.read() or b"{}"))

    def apply(
        self, manifest: Json, namespace: str, *, subresource: str = "", dry_run: bool = False,
        manager: str = "tests", force: bool = True,
    ) -> Answer:  # fmt: skip
        """Server-side apply with strict field validation."""
        name = manifest["metadata"]["name"]
        path = f"{collection(manifest['kind'], namespace)}/{name}{subresource}"
        query = f"fieldManager={manager}&fieldValidation=Strict&force={str(force).lower()}"
        query += "&dryRun=All" if dry_run else ""
        return self.request("PATCH", f"{path}?{query}", manifest, **{"Content-Type": APPLY})

    def create(self, manifest: Json, namespace: str, *, dry_run: bool = False) -> Answer:
        query = "?fieldValidation=Strict" + ("&dryRun=All" if dry_run else "")
        return self.request("POST", collection(manifest["kind"], namespace) + query, manifest)

    def merge(
        self, kind: str, namespace: str, name: str, patch: Json, *, dry_run: bool = False
    ) -> Answer:
        """A JSON merge patch; `name` may end with a subresource."""
        query = "?fieldValidation=Strict" + ("&dryRun=All" if dry_run else "")
        path = f"{collection(kind, namespace)}/{name}{query}"
        return self.request("PATCH", path, patch, **{"Content-Type": MERGE})

    def get(self, kind: str, namespace: str, name: str, subresource: str = "") -> Json:
        answer = self.request("GET", f"{collection(kind, namespace)}/{name}{subresource}")
        assert answer.code == 200, answer
        return answer.body


def collection(kind: str, namespace: str) -> str:
    return f"/apis/xpullm.io/v1alpha1/namespaces/{namespace}/{kind.lower()}s"

"""How the bench lets an engine die: annotations that the simulated nodes read."""

from __future__ import annotations

from xpullm.controller.client import Api
from xpullm.controller.kinds import POD

FAIL = "test.xpullm.io/fail"


class Bystander(Api):
    """One request for each injury: the API server is what the operator waits for."""

    async def hurt(
        self, namespace: str, pod: str, reason: str, exit_code: int, message: str = ""
    ) -> None:
        notes = {FAIL: reason, f"{FAIL}-exit-code": str(exit_code)}
        if message:
            notes |= {f"{FAIL}-message": message, f"{FAIL}-times": "1"}
        path, body = POD.path(namespace, pod), {"metadata": {"annotations": notes}}
        await self._request("patch", POD.plural, path, {}, body, "application/merge-patch+json")

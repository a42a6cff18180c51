"""What the side workers share that ask about pods beside the loop: engines, and Events."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from xpullm.controller.decide_pods import dig, text
from xpullm.controller.kinds import DEPLOYMENT, LLMDEPLOYMENT
from xpullm.controller.store import Store
from xpullm.controller.types import Key
from xpullm.controller.workqueue import ShutDownError, WorkQueue
from xpullm.resources.names import LABEL_PLAN

log = logging.getLogger(__name__)

Target = tuple[str, str, str]  # namespace, name of the LLMDeployment, pod UID


def plan_in_force(store: Store, key: Key) -> str:
    """The hash of the plan whose pods are asked about; "" where there is none, or nobody may ask
    because the LLMDeployment is gone or suspended."""
    llmd = store.get(LLMDEPLOYMENT, *key)
    if llmd is None or dig(llmd, "spec", "suspend") is True:
        return ""
    deployment = store.get(DEPLOYMENT, *key)
    return text(deployment, "spec", "template", "metadata", "labels", LABEL_PLAN)


async def work(
    queue: WorkQueue[Target],
    ask: Callable[[Target], Awaitable[None]],
    again: Callable[[Target], object],
) -> None:
    """Ask until the queue is shut down; as many tasks of it, as many requests at a time. `again`:
    queues what failed in a way that nobody foresaw."""
    while True:
        try:
            target = await queue.get()
        except ShutDownError:
            return
        try:
            await ask(target)
        except Exception:
            log.exception("%s/%s: a question about the pod %s failed", *target)
            again(target)
        finally:
            queue.done(target)

"""``python -m xpullm``: run the operator."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from dataclasses import replace

from xpullm.controller import decide, logs
from xpullm.controller.connection import NoConnectionError
from xpullm.controller.errors import ApiError
from xpullm.controller.lease import LeadershipLostError
from xpullm.controller.reconciler import Decide
from xpullm.controller.resync import UnservableError
from xpullm.controller.run import run
from xpullm.controller.settings import InvalidSettingsError, Settings, parse
from xpullm.resources.settings import PodSettings

log = logging.getLogger("xpullm")


def main() -> int:
    """Exit codes: 0 stopped by a signal, 1 failed (Kubernetes restarts us), 2 invalid settings."""
    try:
        settings = parse(sys.argv[1:], os.environ)
    except InvalidSettingsError as error:
        print(f"xpullm: {error}", file=sys.stderr)
        return 2
    logs.configure(settings.log_level, settings.log_format)
    try:
        asyncio.run(run(settings, decider(settings)))
    except (ApiError, NoConnectionError, LeadershipLostError, OSError, UnservableError) as error:
        log.error("%s", error)
        return 1
    return 0


def decider(settings: Settings) -> Decide:
    """`decide` with what the administrator chose."""
    pods = PodSettings(check_devices=settings.check_devices)
    if settings.runtime_image:
        pods = replace(pods, runtime_image=settings.runtime_image)
    if settings.render_groups:
        groups = tuple(sorted(map(int, settings.render_groups)))
        pods = replace(pods, supplemental_groups=groups)
    chosen = decide.Settings(pods=pods, max_rerolls=settings.max_concurrent_rerolls)
    return lambda snapshot, now: decide.decide(snapshot, now, chosen)


if __name__ == "__main__":
    sys.exit(main())

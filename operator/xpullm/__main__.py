"""``python -m xpullm``: run the operator."""

from __future__ import annotations

import asyncio
import logging
import os
import sys

from xpullm.controller import logs
from xpullm.controller.connection import NoConnectionError
from xpullm.controller.decide import decide
from xpullm.controller.errors import ApiError
from xpullm.controller.lease import LeadershipLostError
from xpullm.controller.resync import UnservableError
from xpullm.controller.run import run
from xpullm.controller.settings import InvalidSettingsError, parse

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
        asyncio.run(run(settings, decide))
    except (ApiError, NoConnectionError, LeadershipLostError, OSError, UnservableError) as error:
        log.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

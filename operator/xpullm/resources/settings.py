"""What the operator's administrator decides about every pod. Plain data, set once at start."""

from __future__ import annotations

from dataclasses import dataclass

from xpullm_runtime import __version__


@dataclass(frozen=True, slots=True)
class PodSettings:
    """`runtime_image`: holds /xpullm-runtime.pyz and python3. `supplemental_groups`: the group ids
    that own /dev/dri/renderD* and card* on the nodes; the id differs per distribution, a group too
    many does no harm. `check_devices`: the supervisor refuses to start where the planned cards are
    not visible; off only where devices are simulated.
    """

    # The chart's default, of this release; the chart tells the operator which image it runs.
    runtime_image: str = f"xpullm/xpullm:{__version__}"
    runtime_image_pull_policy: str = "IfNotPresent"
    # video 44 (Debian, Ubuntu) and 39 (Fedora); render 109, 110 (Ubuntu 22.04), 992, 993
    # (Ubuntu 24.04), 105 (Fedora, RHEL): GenAIComps' compose files use 44 and 992.
    supplemental_groups: tuple[int, ...] = (39, 44, 105, 109, 110, 992, 993)
    check_devices: bool = True

"""The whole table: (kind, row)."""

from __future__ import annotations

from tests.contract import table_spec, table_status
from tests.contract.rows import Row

NAME_RULE = (
    "`metadata.name` must be a DNS label of at most 50 characters (a-z, 0-9, -; a letter first; no"
    " dots): its Service and its pods carry the name"
)
TABLE: list[tuple[str, Row]] = [
    *(("LLMDeployment", row) for row in table_spec.ROWS),
    *(("LLMDeployment", row) for row in table_status.ROWS),
    *(("TuningRecord", row) for row in table_status.RECORD_ROWS),
]

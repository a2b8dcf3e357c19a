"""The limits that protect the user, the server or the machine have the values that are meant."""

from __future__ import annotations

import importlib

import pytest

MIB = 2**20
LIMITS: dict[str, dict[str, float]] = {
    # What docs/contract.md promises
    "cicd_common.gitlab.connection": {"DEFAULT_REQUEST_TIMEOUT": 30, "DEFAULT_RETRY_FOR": 60},
    "cicd_common.waiting.policy": {
        "DEFAULT_TIMEOUT": 3600,
        "DEFAULT_APPEAR_TIMEOUT": 60,
        "DEFAULT_LOG_TAIL": 20,
        "SHORTEST_TIMEOUT": 1,
    },
    "cicd_common.cli.options": {"LONGEST_DURATION": 20 * 24 * 3600},
    # The server's: what it allows, and what it can bear
    "cicd_common.gitlab.client": {"PER_PAGE": 100, "MOST_PAGES": 5000},
    "cicd_common.gitlab.fields": {"HIGHEST_ID": 2**63 - 1},
    "cicd_common.gitlab.retry": {"FIRST_PAUSE": 0.5, "LONGEST_PAUSE": 10},
    "cicd_common.gitlab.writes": {"SERVER_LIMIT": 60},
    "cicd_common.waiting.poll": {
        "SHORTEST": 1,
        "LONGEST": 30,
        "LONGEST_PUSHED": 55,
        "JITTER": 0.1,
    },
    "cicd_common.waiting.push.listener": {
        "STALE_SECONDS": 15,
        "RENEW_SECONDS": 540,
        "AGAIN_SECONDS": 30,
        "FIRST_DELAY": 1,
        "LONGEST_DELAY": 60,
    },
    "cicd_common.cli.output": {"MOST_VARIABLES": 20, "MOST_BYTES": 5119},
    "cmd_tag_project.cli": {"TAG_VARIABLES": 4},
    "cmd_wait_pipeline.cli": {"MOST_DIGITS": 18},
    # The machine's: memory, disk, and ten seconds from SIGTERM to SIGKILL
    "cicd_common.files": {"LARGEST": 10 * MIB},
    "cicd_common.gitlab.session": {
        "CONNECT_TIMEOUT": 10,
        "MOST_REDIRECTS": 5,
        "LARGEST": 1024 * MIB,
        "LARGEST_JSON": 32 * MIB,
        "LONGEST_TAIL": MIB,
    },
    "cicd_common.parallel": {"WRITE_GRACE": 5},
    "cicd_common.waiting.actions": {"LIMIT": 4},
    "cicd_common.waiting.push.websocket": {"CLOSE_TIMEOUT": 0.05},
    "cicd_common.waiting.report": {"LONGEST_LOGS": 10 * MIB, "LOG_SECONDS": 10},
    "cicd_common.waiting.reported_variables": {"LARGEST_FILE": 64 * 1024},
    "cicd_common.waiting.unpacking": {
        "LARGEST_ARCHIVE": 5 * 1024 * MIB,
        "LARGEST_UNPACKED": 20 * 1024 * MIB,
        "MOST_ENTRIES": 500_000,
        "HIGHEST_RATIO": 200,
        "SMALL": 100 * MIB,
    },
    # The reader's: how much of a foreign text is shown
    "cicd_common.cleaning": {"SHORTEST_SECRET": 8},
    "cicd_common.gitlab.responses": {"LONGEST_TEXT": 500},
    "cicd_common.waiting.push.cable": {"_LONGEST_REASON": 200},
    "cicd_common.waiting.show.lines": {"LONGEST_LOGS": MIB},
}


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [(module, name, value) for module, names in LIMITS.items() for name, value in names.items()],
)
def test_a_limit_is_what_is_meant(module: str, name: str, value: float) -> None:
    assert getattr(importlib.import_module(module), name) == value

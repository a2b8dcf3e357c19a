"""The end of a job's log, as a person would have seen it."""

from __future__ import annotations

import re

# ECMA-48 control sequences (colours, cursor, erasing), and operating-system commands (titles,
# links), which end with BEL or ST.
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[ -/]*[0-~]")
# https://docs.gitlab.com/ci/jobs/job_logs/#custom-collapsible-sections
_SECTION = re.compile(r"section_(?:start|end):\d+:[\w.-]+(?:\[[^\]]*\])?\r?")
# Runners put a time, a stream and `+` for the rest of a line before each:
# https://docs.gitlab.com/ci/jobs/job_logs/#job-log-timestamps
_TIMESTAMP = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z [\da-f]{2}[OE](?P<rest>[+ ])")
# A log may have 100 MB; of its end, this leaves room for markers and for lines in parts.
_RAW_LINES_PER_LINE = 10


def last_lines(log: str, count: int) -> tuple[str, ...]:
    """The last lines of a log, without colours, section markers and what was overwritten.

    Args:
        log: What GitLab sent.
        count: How many lines, at most; more than 0.

    Returns:
        The lines, oldest first; empty ones at the end are left out.
    """
    lines: list[str] = []
    some = count * _RAW_LINES_PER_LINE
    for raw in log.rsplit("\n", some)[-some:]:
        stamp = _TIMESTAMP.match(raw)
        line = _cleaned(raw[stamp.end() :] if stamp else raw)
        if stamp and stamp["rest"] == "+" and lines:
            lines[-1] += line
        elif line or not _SECTION.search(raw):
            lines.append(line)
    while lines and not lines[-1]:
        lines.pop()
    return tuple(lines[-count:])


def _cleaned(line: str) -> str:
    line = _SECTION.sub("", _ESCAPES.sub("", line)).rstrip()
    # A bare carriage return starts the line again, as progress bars do.
    line = line.rsplit("\r", 1)[-1].expandtabs()
    return "".join(c for c in line if c.isprintable())

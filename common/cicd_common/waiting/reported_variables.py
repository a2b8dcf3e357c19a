"""Reads the variables that a job left in a dotenv file of its artifacts."""

from __future__ import annotations

import re

from cicd_common.cleaning import one_line
from cicd_common.cli.output import OWN_NAMES
from cicd_common.errors import RefusedError

# Bytes; GitLab's own limit is 5 KB, which an administrator can raise.
LARGEST_FILE = 64 * 1024
# GitLab's `Ci::JobVariable`; `app/services/ci/parse_dotenv_artifact_service.rb` makes them.
_KEY = re.compile(r"[a-zA-Z0-9_]{1,255}")


def parse_variables(content: bytes, place: str) -> dict[str, str]:
    """Reads a dotenv file as GitLab does; empty lines are skipped.

    Args:
        content: The file: lines of `KEY=value`, without quotes or expansion.
        place: The file's name, for messages; no message shows a value.

    Returns:
        The values by key, without control characters; the last one of a key counts.

    Raises:
        RefusedError: It is not such a file, or it has a variable of this command's own.
    """
    try:
        text = content.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise RefusedError(f"{place} is not UTF-8 text.", hint=_HINT) from error
    variables = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        key, equals, value = line.partition("=")
        key = key.strip()
        if not equals or not _KEY.fullmatch(key):
            raise RefusedError(
                f"Line {number} of {place} is not KEY=value.",
                why="A key has letters, digits and '_', at most 255.",
                hint=_HINT,
            )
        if OWN_NAMES.fullmatch(key):
            raise RefusedError(
                f"Line {number} of {place} sets {key}.",
                why="This command itself writes a variable of that name.",
                hint="Leave it out of the file; a command that wrote it takes --dotenv-prefix.",
            )
        variables[key] = one_line(value).strip()
    return variables


_HINT = "Check the file that the job writes."

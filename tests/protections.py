"""Takes each protection out of a copy of the code, and tells which test notices.

`make protections` runs it. A protection that no test notices is an error: it could be lost without
a word. `docs/reliability.md` has the table.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = ("common", "cmd_bump_image_tag", "cmd_tag_project", "cmd_trigger_pipeline",
           "cmd_wait_pipeline", "cicd_doctor", "sandbox", "tests", "conftest.py",
           "pyproject.toml")  # fmt: skip
SESSION = "common/cicd_common/gitlab/session.py"
TESTS = "tests/functional/"
UNIT = "tests/unit/cicd_common/"


@dataclass(frozen=True)
class Protection:
    """A piece of code that keeps something bad from happening.

    Attributes:
        name: What it does.
        file: Where it is.
        code: The text that does it.
        without: The text that stands there when it is taken out.
        test: The test that has to notice.
    """

    name: str
    file: str
    code: str
    without: str
    test: str


PROTECTIONS = (
    Protection(
        "A token does not follow a redirect to another host",
        SESSION,
        "if verb in READS and same_origin(target, self.base_url):",
        "if verb in READS:",
        f"{TESTS}cmd_tag_project/test_tag_faults.py::test_8_a_redirect_to_another_host_carries_nothing_there",
    ),
    Protection(
        "A write is not redirected",
        SESSION,
        "if verb in READS and same_origin(target, self.base_url):",
        "if same_origin(target, self.base_url):",
        f"{UNIT}gitlab/test_session.py",
    ),
    Protection(
        "A request to another origin is stopped",
        SESSION,
        "if not same_origin(address, self.base_url):",
        "if False:",
        f"{UNIT}gitlab/test_session.py",
    ),
    Protection(
        "After a lost response the command checks before it sends again",
        "common/cicd_common/gitlab/writes.py",
        "if not _can_have_happened(failure):",
        "if True:",
        f"{TESTS}cmd_trigger_pipeline/test_trigger_faults.py",
    ),
    Protection(
        "The absence of a pipeline counts only after the server's limit",
        "common/cicd_common/gitlab/writes.py",
        "(0 if at_once else SERVER_LIMIT)",
        "0",
        f"{UNIT}gitlab/test_writes.py",
    ),
    Protection(
        "`~/.netrc` does not beat the token that was given",
        SESSION,
        'options["auth"] = options.get("auth") or _anonymous',
        'options["auth"] = options.get("auth")',
        f"{UNIT}gitlab/test_client.py::test_netrc_is_not_used_for_credentials",
    ),
    Protection(
        "`~/.netrc` does not beat the token that git is given",
        "cmd_bump_image_tag/targets/git_command.py",
        '"GIT_CONFIG_COUNT": "2"',
        '"GIT_CONFIG_COUNT": "0"',
        f"{TESTS}cmd_bump_image_tag/test_bump_git.py::test_a_netrc_does_not_beat_the_token_that_was_given",
    ),
    Protection(
        "Git's token goes to the server of `--base-url` alone",
        "cmd_bump_image_tag/targets/git_command.py",
        "if token is None or not self.remote.gets_token:",
        "if token is None:",
        f"{TESTS}cmd_bump_image_tag/test_bump_git.py",
    ),
    Protection(
        "The limit of a request is that of its whole response",
        "common/cicd_common/gitlab/transport.py",
        "_LimitedReader(reader, sock, time.monotonic() + limit)",
        "_LimitedReader(reader, sock, time.monotonic() + 20 * limit)",
        f"{UNIT}gitlab/test_transport.py",
    ),
    Protection(
        "Loopback is never asked through a proxy",
        "common/cicd_common/gitlab/transport.py",
        'if host.lower() == "localhost":\n        return True',
        "if host:\n        return False",
        f"{UNIT}gitlab/test_transport.py",
    ),
    Protection(
        "An edit is parsed again and compared",
        "cmd_bump_image_tag/yaml_text/edit.py",
        "    _verify(text, edited, {scalar.start: value for scalar, value in values.items()})\n",
        "",
        "tests/unit/cmd_bump_image_tag/yaml_text",
    ),
    Protection(
        "What was overwritten between GitLab's check and its write is put back",
        "cmd_bump_image_tag/targets/commits_api.py",
        "lost = {path: data for path, data in theirs.items() if data != before.contents[path]}",
        "lost: dict[str, bytes] = {}",
        f"{TESTS}cmd_bump_image_tag/test_bump_races.py",
    ),
    Protection(
        "A branch or a repository that looks like an option is refused",
        "cmd_bump_image_tag/request.py",
        "^$|^[-/]|",
        "^$|^[/]|",
        "tests/unit/cmd_bump_image_tag/test_request.py",
    ),
    Protection(
        "Control characters do not reach stdout, stderr or the dotenv file",
        "common/cicd_common/cleaning.py",
        'c if c.isprintable() or c in "\\n\\t" else "?"',
        "c",
        f"{UNIT}cli/test_output.py",
    ),
    Protection(
        "A line from elsewhere stays one line",
        "common/cicd_common/cleaning.py",
        'c if c.isprintable() else " " if c.isspace() else "?"',
        "c",
        f"{UNIT}cli/test_output.py",
    ),
    Protection(
        "A secret is hidden in all its spellings",
        "common/cicd_common/cleaning.py",
        "_spellings.update(_spellings_of(secret))",
        "_spellings.add(secret)",
        f"{UNIT}test_cleaning.py",
    ),
    Protection(
        "Every token is hidden",
        "common/cicd_common/gitlab/tokens.py",
        "cleaning.hide(self.secret)",
        "pass",
        f"{UNIT}cli/test_options.py",
    ),
    Protection(
        "An old report never counts as this run's",
        "common/cicd_common/cli/output.py",
        'write_file(self.dotenv, b"")',
        "pass",
        f"{UNIT}cli/test_output.py",
    ),
    Protection(
        "A password goes to no token service without TLS",
        "common/cicd_common/registry/access.py",
        'if parts.scheme == "http" and login is not None and not same_host:',
        "if False:",
        f"{UNIT}registry/test_client.py",
    ),
    Protection(
        "Only a manifest gives a digest",
        "common/cicd_common/registry/manifests.py",
        "if not is_manifest(response) or not json_object(response):",
        "if False:",
        f"{UNIT}registry/test_client.py",
    ),
    Protection(
        "A retried job reuses only the pipeline of the same job and request",
        "cmd_trigger_pipeline/reuse.py",
        "if wanted in shown:",
        "if shown:",
        f"{TESTS}cmd_trigger_pipeline/test_trigger_reuse.py",
    ),
    Protection(
        "A pipeline whose variables cannot be read is not guessed",
        "cmd_trigger_pipeline/reuse.py",
        "if shown is None:",
        "if False:",
        f"{TESTS}cmd_trigger_pipeline/test_trigger_reuse.py",
    ),
    Protection(
        "No entry of an archive leads out of its folder",
        "common/cicd_common/waiting/unpacking.py",
        'if ".." in path.parts:',
        "if False:",
        f"{UNIT}waiting/test_unpacking.py",
    ),
    Protection(
        "Another project's variable does not replace the command's own",
        "common/cicd_common/waiting/reported_variables.py",
        "if OWN_NAMES.fullmatch(key):",
        "if False:",
        f"{TESTS}cmd_wait_pipeline/test_wait_dotenv_from.py",
    ),
)


def notices(protection: Protection) -> str:
    """Runs the tests without the protection: the first that fails, or nothing.

    Raises:
        LookupError: The code does not have the protection's text, exactly once.
    """
    with tempfile.TemporaryDirectory() as folder:
        for name in SOURCES:
            source, target = ROOT / name, Path(folder, name)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)
        file = Path(folder, protection.file)
        text = file.read_text(encoding="utf-8")
        if text.count(protection.code) != 1:
            raise LookupError(f"{protection.file} does not have once: {protection.code}")
        file.write_text(text.replace(protection.code, protection.without), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider",
             protection.test],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{Path(folder, 'common')}"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED ")]
        return failed[0].split(" ")[1] if failed and done.returncode == 1 else ""


def main() -> int:
    """Prints the table; the exit code is the number of protections that no test notices."""
    missed = 0
    print("| protection | where | test that fails without it |\n| --- | --- | --- |")  # noqa: T201 - a table for people
    for protection in PROTECTIONS:
        test = notices(protection)
        missed += not test
        name = test.partition("::")[2].partition("[")[0] or "**none**"
        print(f"| {protection.name} | `{protection.file}` | `{name}` |", flush=True)  # noqa: T201 - the same
    return missed


if __name__ == "__main__":
    sys.exit(main())

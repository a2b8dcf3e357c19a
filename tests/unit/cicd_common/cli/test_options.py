from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import click
import pytest

from cicd_common.cli import console
from cicd_common.cli.main import EX_SOFTWARE, run
from cicd_common.cli.options import Command, option, shared_options
from cicd_common.errors import ALL_ERRORS, CommandError, Interrupted, NotFoundError, UsageError
from cicd_common.gitlab.client import GitLab
from cicd_common.gitlab.tokens import TokenKind

if TYPE_CHECKING:
    from pathlib import Path

    from cicd_common.cli.settings import Settings

CONFIG = """\
[global]
default = here
[here]
url = https://config.example.com
private_token = from-config
[jobs]
url = https://config.example.com
job_token = job-from-config
[none]
url = https://config.example.com
[unsafe]
url = https://config.example.com
ssl_verify = false
"""


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith(("CI", "GITLAB", "COMMANDS", "NO_COLOR", "FORCE_COLOR")):
            monkeypatch.delenv(name)
    (tmp_path / "gitlab.cfg").write_text(CONFIG)
    monkeypatch.setenv("PYTHON_GITLAB_CFG", str(tmp_path / "gitlab.cfg"))


def settings_of(*arguments: str) -> Settings:
    """What the shared options make of a command line."""
    seen: list[Settings] = []

    @click.command("cmd-test", cls=Command, examples={}, no_args_is_help=False)
    @option("--some-name")
    @shared_options
    def cli(settings: Settings, some_name: str | None) -> int:
        del some_name
        seen.append(settings)
        return 0

    cli.main(list(arguments), standalone_mode=False)
    return seen[0]


URL = ("--base-url", "https://h.example")


@pytest.mark.parametrize(
    ("arguments", "environment", "kind", "secret", "source"),
    [
        (["--api-access-token", "a"], {"COMMANDS_API_TOKEN": "b"}, "ACCESS", "a",
         "--api-access-token"),
        ([], {"COMMANDS_API_TOKEN": "b", "GITLAB_TOKEN": "c"}, "ACCESS", "b",
         "COMMANDS_API_TOKEN"),
        ([], {"COMMANDS_API_TOKEN": "", "GITLAB_TOKEN": "c"}, "ACCESS", "c", "GITLAB_TOKEN"),
        ([], {"GITLAB_TOKEN": "c", "CI_JOB_TOKEN": "j"}, "ACCESS", "c", "GITLAB_TOKEN"),
        ([], {"COMMANDS_API_TOKEN": "", "CI_JOB_TOKEN": "j"}, "JOB", "j", "CI_JOB_TOKEN"),
        (["--job-token", "k"], {"CI_JOB_TOKEN": "j"}, "JOB", "k", "--job-token"),
        (["--job-token", "k"], {"GITLAB_TOKEN": "c"}, "ACCESS", "c", "GITLAB_TOKEN"),
        (["--api-access-token-file", "FILE"], {"GITLAB_TOKEN": "c"}, "ACCESS", "from-file",
         "--api-access-token-file"),
        (["--api-access-token", "a"], {"COMMANDS_API_TOKEN_FILE": "FILE"}, "ACCESS", "a",
         "--api-access-token"),
        ([], {"COMMANDS_API_TOKEN_FILE": "FILE", "CI_JOB_TOKEN": "j"}, "ACCESS", "from-file",
         "COMMANDS_API_TOKEN_FILE"),
        (["--gitlab", "here"], {"CI_JOB_TOKEN": "j"}, "JOB", "j", "CI_JOB_TOKEN"),
    ],
)  # fmt: skip
def test_one_token_is_selected_and_its_source_is_known(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: list[str],
    environment: dict[str, str],
    kind: str,
    secret: str,
    source: str,
) -> None:
    (tmp_path / "token").write_text("from-file\n")
    place = str(tmp_path / "token")
    for name, value in environment.items():
        monkeypatch.setenv(name, value.replace("FILE", place))
    words = [place if word == "FILE" else word for word in arguments]

    token = settings_of(*URL, *words).connection.token

    assert token is not None
    assert (token.kind, token.secret, token.source) == (TokenKind[kind], secret, source)


def test_the_server_comes_from_the_option_the_variable_or_the_configuration_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    section = ("--gitlab", "none")
    assert settings_of(*section).connection.base_url == "https://config.example.com"
    monkeypatch.setenv("CI_SERVER_URL", "https://ci.example")
    assert settings_of(*section).connection.base_url == "https://ci.example"
    monkeypatch.setenv("GITLAB_SERVER_BASE_URL", "https://seed.example")
    assert settings_of(*section).connection.base_url == "https://seed.example"
    assert settings_of(*section, *URL).connection.base_url == "https://h.example"


@pytest.mark.parametrize(("section", "kind"), [("here", TokenKind.ACCESS), ("jobs", TokenKind.JOB)])
def test_a_configuration_section_sets_server_and_token(section: str, kind: TokenKind) -> None:
    connection = settings_of("--gitlab", section).connection
    assert connection.base_url == "https://config.example.com"
    assert connection.token is not None
    assert connection.token.kind is kind


def test_the_configuration_file_is_read_only_if_it_is_requested() -> None:
    assert settings_of(*URL).connection.token is None


@pytest.mark.parametrize(
    "arguments",
    [
        ["--gitlab", "here", "--base-url", "https://elsewhere.example"],
        ["--gitlab", "unsafe"],
        ["--gitlab", "missing"],
        ["--base-url", "https://h", "--api-access-token", "a", "--api-access-token-file", "f"],
    ],
)
def test_a_token_is_never_used_for_another_server(arguments: list[str]) -> None:
    with pytest.raises(CommandError) as raised:
        settings_of(*arguments)
    assert raised.value.exit_code == 2
    assert "from-config" not in raised.value.message


def test_a_command_needs_a_server_only_when_it_connects() -> None:
    settings = settings_of("--api-access-token", "a")

    assert settings.connection.base_url == ""
    with pytest.raises(UsageError, match="No GitLab server was given"):
        GitLab(settings.connection)


def test_every_option_can_be_written_with_underscores() -> None:
    dashes = settings_of("--base-url", "https://h", "--some-name", "a_b", "--dry-run")
    underscores = settings_of("--base_url=https://h", "--some_name=a_b", "--dry_run")
    assert dashes == underscores


@pytest.mark.parametrize("text", ["0", "1.5", "60"])
def test_durations_are_integers_or_decimals(text: str) -> None:
    assert settings_of(*URL, "--retry-for", text).connection.retry_for == float(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("90s", 90), ("5m", 300), ("1h30m", 5400), ("1h1m1s", 3661),
        ("1.5m", 90), ("0s", 0), (" 60 ", 60), ("480h", 1_728_000),
    ],
)  # fmt: skip
def test_durations_can_have_units(text: str, value: float) -> None:
    assert settings_of(*URL, "--retry-for", text).connection.retry_for == value


@pytest.mark.parametrize(
    "text",
    ["", "s", "nan", "inf", "-1", "1d", "5 m", "5m5m", "1s1m", "1h30", "1e3", "٣", "1_000", "481h",
     "9" * 5000],
)  # fmt: skip
def test_an_invalid_duration_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        settings_of(*URL, f"--retry-for={text}")


def test_every_option_with_a_variable_shows_it_in_the_help() -> None:
    @click.command("cmd-test", cls=Command, examples={"Do": "cmd-test"})
    @shared_options
    def cli(settings: Settings) -> int:
        return int(settings.dry_run)

    with click.Context(cli, **cli.context_settings) as context:
        text = " ".join(cli.get_help(context).split())
    variables = [
        name
        for param in cli.params
        for name in ([param.envvar] if isinstance(param.envvar, str) else param.envvar or [])
    ]
    assert variables == [
        "GITLAB_SERVER_BASE_URL", "CI_SERVER_URL", "COMMANDS_API_TOKEN", "GITLAB_TOKEN",
        "COMMANDS_API_TOKEN_FILE", "CI_JOB_TOKEN", "CI_SERVER_TLS_CA_FILE",
    ]  # fmt: skip
    for name in variables:
        assert name in text.replace("_ ", "_")


# The boundary


def ending_of(
    failure: BaseException | None, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> tuple[int, str, str]:
    @click.command("cmd-test", cls=Command, examples={}, no_args_is_help=False)
    @shared_options
    def cli(settings: Settings) -> int:
        del settings
        if failure:
            raise failure
        return 0

    with pytest.raises(SystemExit) as raised:
        run(cli, [*URL, "--api-access-token", "hush-hush", *arguments])
    captured = capsys.readouterr()
    return int(raised.value.code or 0), captured.out, captured.err


@pytest.mark.parametrize("kind", ALL_ERRORS, ids=lambda kind: kind.kind)
def test_every_error_shows_exit_code_what_why_and_hint(
    kind: type[CommandError], capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = ending_of(kind("It is so.", why="Because."), [], capsys)
    assert code == kind.exit_code
    assert out == ""
    assert err == f"error: It is so.\n  why: Because.\n   do: {kind.remedy}\n"


@pytest.mark.parametrize("kind", ALL_ERRORS, ids=lambda kind: kind.kind)
def test_a_reason_that_only_repeats_the_exit_code_is_omitted(
    kind: type[CommandError], capsys: pytest.CaptureFixture[str]
) -> None:
    _, _, err = ending_of(kind("It is so."), [], capsys)
    assert err == f"error: It is so.\n   do: {kind.remedy}\n"


def test_a_failure_is_one_json_document(capsys: pytest.CaptureFixture[str]) -> None:
    error = NotFoundError("No.", why="Because.", hint="Check it.")
    code, out, _ = ending_of(error, ["--output", "json"], capsys)
    told = {
        "code": 4,
        "kind": "not-found",
        "message": "No.",
        "why": "Because.",
        "hint": "Check it.",
    }
    assert code == 4
    assert json.loads(out) == {"error": told, "errors": [told], "results": []}


@pytest.mark.parametrize("spelling", [["-o", "json"], ["-ojson"], ["--output=json"]])
@pytest.mark.parametrize(("signum", "code"), [(2, 130), (15, 143)])
def test_a_signal_is_one_json_document_too(
    spelling: list[str], signum: int, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    ended, out, _ = ending_of(Interrupted(signum), spelling, capsys)
    document = json.loads(out)
    assert ended == code
    assert (document["error"]["code"], document["error"]["kind"]) == (code, "interrupted")
    assert document["results"] == []


def test_a_token_in_a_message_is_hidden(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, err = ending_of(NotFoundError("No hush-hush."), ["--output=json", "-vv"], capsys)
    assert "hush-hush" not in out + err
    assert "[hidden]" in err


def test_a_traceback_is_shown_only_with_vv(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Traceback" not in ending_of(NotFoundError("No."), ["-v"], capsys)[2]
    assert "Traceback" in ending_of(NotFoundError("No."), ["-vv"], capsys)[2]


def test_a_bug_has_an_exit_code_outside_the_contract(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = ending_of(ZeroDivisionError("hush-hush"), [], capsys)
    assert code == EX_SOFTWARE
    assert code not in {kind.exit_code for kind in ALL_ERRORS}
    assert "Traceback" not in err
    assert "hush-hush" not in err


@pytest.mark.parametrize(("signum", "exit_code"), [(2, 130), (15, 143)])
def test_a_signal_exits_with_128_plus_its_number(
    signum: int, exit_code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = ending_of(Interrupted(signum), [], capsys)
    assert (code, out) == (exit_code, "")
    assert "SIG" in err


def test_help_and_version_exit_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    for word in ("--help", "-h", "--version"):
        code, out, err = ending_of(None, [word], capsys)
        assert (code, err) == (0, "")
        assert out


@pytest.mark.parametrize(
    ("environment", "tty", "wanted"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, True, False),
    ],
)
def test_colour_is_used_only_on_terminals_by_default(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], *, tty: bool, wanted: bool
) -> None:
    class Stream:
        def isatty(self) -> bool:
            return tty

    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert console.colored(Stream()) is wanted

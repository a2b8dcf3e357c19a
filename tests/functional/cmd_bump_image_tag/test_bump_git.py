"""A bump by git: whose token it sends, who commits, and which repositories it takes."""

from __future__ import annotations

import base64
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

from cmd_bump_image_tag.cli import cli
from sandbox import Fault
from tests.functional.cmd_bump_image_tag.conftest import BUMPED, DEPLOYMENT, WEB, Run, log, text

if TYPE_CHECKING:
    from sandbox import Sandbox
    from sandbox.model import Project, Token, User
    from tests.functional.conftest import Ending, Invoke

BUMP = ("--image", WEB, "--tag", "v1.1.0", "--project", "tech-lunch/k8s", "--via", "git")
LOCAL = ("--image", WEB, "--tag", "v1.1.0", "--retry-for", "0", "--repository")
ANOTHER = "someone-elses-password"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder of the test's own."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return folder


# Tokens


def git_credentials(gitlab: Sandbox) -> set[str]:
    """What git's requests have carried."""
    return {
        base64.b64decode(header.removeprefix("Basic ")).decode()
        for request in gitlab.requests
        if "/api/" not in request.path
        for header in [request.headers.get("Authorization") or ""]
        if header
    }


def test_a_netrc_does_not_beat_the_token_that_was_given(
    run: Run, gitlab: Sandbox, project: Project, token: Token, home: Path
) -> None:
    (home / ".netrc").write_text(f"machine 127.0.0.1 login other password {ANOTHER}\n")

    ending = run(*BUMP)

    assert ending.code == 0, ending.stderr
    assert text(gitlab, project, "apps/web.yaml") == BUMPED
    assert git_credentials(gitlab) == {f"oauth2:{token.secret}"}


@pytest.mark.parametrize(
    "setting",
    [
        ("credential.helper", f"!f() {{ echo username=other; echo password={ANOTHER}; }}; f"),
        ("http.extraHeader", f"Authorization: Basic {ANOTHER}"),
        ("http.{url}/.extraHeader", f"Authorization: Basic {ANOTHER}"),
        ("url.http://elsewhere.example.com/.insteadOf", "{url}/"),
        ("url.ssh://git@elsewhere.example.com/.pushInsteadOf", "{url}/"),
    ],
    ids=lambda setting: setting[0],
)
def test_the_users_own_configuration_does_not_beat_it_either(
    run: Run, gitlab: Sandbox, token: Token, project: Project, setting: tuple[str, str]
) -> None:
    name, value = (part.replace("{url}", gitlab.url) for part in setting)
    subprocess.run(["git", "config", "--global", name, value], check=True)

    ending = run(*BUMP)

    assert ending.code == 0, ending.stderr
    assert text(gitlab, project, "apps/web.yaml") == BUMPED
    assert git_credentials(gitlab) == {f"oauth2:{token.secret}"}


def test_3_a_netrc_does_not_replace_a_wrong_token(
    run: Run, gitlab: Sandbox, project: Project, executor: User, home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    right = gitlab.add_token(executor).secret
    (home / ".netrc").write_text(f"machine 127.0.0.1 login oauth2 password {right}\n")
    monkeypatch.setenv("COMMANDS_API_TOKEN", "glpat-wrong-wrong-wrong")

    ending = run(*BUMP[:4], "--via", "git", "--repository", f"{gitlab.url}/{project.path}.git")

    assert ending.code == 3, ending.stderr
    assert git_credentials(gitlab) == {"oauth2:glpat-wrong-wrong-wrong"}
    assert log(project) == ["Initial commit"]


@pytest.mark.parametrize("service", ["upload-pack", "receive-pack"])
def test_an_answer_whose_head_is_cut_off_is_asked_for_again(
    run: Run, gitlab: Sandbox, project: Project, service: str
) -> None:
    # What is left of it is, to git, an empty list of branches.
    cut = gitlab.fault(Fault(path=f"info/refs.*{service}", nth=1, status=200, body=""))

    ending = run(*BUMP)

    assert ending.code == 0, ending.stderr
    assert cut.fired == 1
    assert text(gitlab, project, "apps/web.yaml") == BUMPED


def test_an_address_whose_first_answer_is_cut_off_has_a_default_branch(
    run: Run, gitlab: Sandbox, project: Project
) -> None:
    cut = gitlab.fault(Fault(path="info/refs", nth=1, status=200, body=""))
    address = f"{gitlab.url}/tech-lunch/k8s.git"

    ending = run("--image", WEB, "--tag", "v1.1.0", "--repository", address)

    assert ending.code == 0, ending.stderr
    assert cut.fired == 1
    assert text(gitlab, project, "apps/web.yaml") == BUMPED


def test_an_address_without_git_at_its_end_is_served(
    run: Run, gitlab: Sandbox, project: Project
) -> None:
    ending = run(*BUMP[:4], "--repository", f"{gitlab.url}/{project.path}/")

    assert ending.code == 0, ending.stderr
    assert text(gitlab, project, "apps/web.yaml") == BUMPED


def test_ssh_to_another_host_gets_no_token_of_any_kind(
    run: Run, token: Token, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen, script = tmp_path / "seen", tmp_path / "ssh"
    script.write_text(f'#!/bin/sh\nenv >> {seen}; echo "$@" >> {seen}; exit 255\n')
    script.chmod(0o755)
    monkeypatch.setenv("GIT_SSH_COMMAND", str(script))
    secrets = {
        "CI_JOB_TOKEN": "glcbt-job-token-of-this-job",
        "CI_REGISTRY_PASSWORD": "registry-password",
        "TRIGGER_TOKEN": "glptt-trigger-token",
        "CI_REPOSITORY_URL": "https://gitlab-ci-token:glcbt-job-token-of-this-job@x/y.git",
        "MY_OWN_COPY": token.secret,
    }
    for name, secret in secrets.items():
        monkeypatch.setenv(name, secret)

    ending = run(*LOCAL, "git@another.example.com:a/b.git")

    assert ending.code == 8, ending.stderr
    noted = seen.read_text()
    assert "another.example.com" in noted
    basic = base64.b64encode(f"oauth2:{token.secret}".encode()).decode()
    assert not [each for each in (token.secret, basic, *secrets.values()) if each in noted]


@pytest.mark.parametrize(
    "variable",
    ["GIT_TRACE", "GIT_TRACE_CURL", "GIT_CURL_VERBOSE", "GIT_TRACE2", "GIT_TRACE_PACKET"],
)
def test_traces_of_git_do_not_change_what_a_failure_is(
    run: Run, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "1")
    monkeypatch.setenv("GIT_TRACE_REDACT", "0")

    ending = run(*BUMP, "--branch", "nowhere")

    assert ending.code == 4, ending.stderr


# Addresses


@pytest.mark.parametrize(
    "address",
    [
        "https://u:PWpwPW@h/a.git", "HTTPS://u:PWpwPW@h/a.git", "http://u:PWpwPW@h/a.git",
        "https://PWpwPW@h/a.git", "https://u%3aPWpwPW@h/a.git", "https://u:PW/pwPWpwPW@h/a.git",
        "ssh://u:PWpwPW@h/a.git", "SSH://u:PWpwPW@h/a.git", "ssh://u%3APWpwPW@h/a.git",
        "git+ssh://u:PWpwPW@h/a.git", "ftp://u:PWpwPW@h/a.git", "git://u:PWpwPW@h/a.git",
        "git://PWpwPW@h/a.git", "https:/u:PWpwPW@h/a.git", "https:u:PWpwPW@h/a.git",
        "https::https://u:PWpwPW@h/a.git", "u:PWpwPW@h:a.git", "ext::sh -c PWpwPW", "fd::7",
        "fd::7/PWpwPW", "https://h/a.git?private_token=PWpwPW", "https://h/a.git#PWpwPW",
        "ssh://git@h/a.git?x=PWpwPW", "ssh://u:PW/pwPWpwPW@h/a.git", "", "-oProxyCommand=PWpwPW", "https://h/a\n.git",
    ],
)  # fmt: skip
def test_2_an_address_with_a_secret_is_refused_and_not_shown(run: Run, address: str) -> None:
    ending = run(*LOCAL[:-1], f"--repository={address}")

    assert ending.code == 2, ending.stderr
    assert "PWpwPW" not in ending.stdout + ending.stderr


@pytest.mark.parametrize(
    "address",
    ["/srv/u:p@x/a.git", "./a@b", "git@h:a@b/c.git", "ssh://git@h:22/a.git", "file:///srv/a.git"],
)
def test_an_address_without_one_is_taken(run: Run, address: str) -> None:
    assert run(*LOCAL, address, "--request-timeout", "5").code != 2


# Who commits


class AsCommitted(Protocol):
    """Bumps a repository on disk; returns how git shows the commit."""

    def __call__(self, form: str, *arguments: str) -> str: ...


@pytest.fixture
def as_committed(invoke: Invoke, project: Project) -> AsCommitted:
    def bump(form: str, *arguments: str) -> str:
        ending = invoke(cli, *LOCAL, str(project.repository), *arguments)
        assert ending.code == 0, ending.stderr
        return subprocess.run(
            ["git", "--git-dir", str(project.repository), "log", "-1", f"--format={form}", "main"],
            check=True, capture_output=True, text=True,
        ).stdout.rstrip("\n")  # fmt: skip

    return bump


def test_it_is_whom_the_checkout_names(
    as_committed: AsCommitted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = tmp_path / "checkout"
    subprocess.run(["git", "init", "-q", str(checkout)], check=True)
    for name, value in (("user.name", "Check Out"), ("user.email", "out@example.com")):
        subprocess.run(["git", "-C", str(checkout), "config", name, value], check=True)
    monkeypatch.chdir(checkout)
    monkeypatch.setenv("GITLAB_USER_NAME", "Jo Doe")
    monkeypatch.setenv("GIT_COMMITTER_NAME", "By Variable")

    assert as_committed("%an %ae %cn %ce") == (
        "Check Out out@example.com By Variable out@example.com"
    )


def test_the_user_of_the_job_takes_precedence_over_the_users_configuration(
    as_committed: AsCommitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["git", "config", "--global", "user.name", "Machine"], check=True)
    subprocess.run(["git", "config", "--global", "user.email", "m@example.com"], check=True)
    monkeypatch.setenv("GITLAB_USER_NAME", "Jo Doe")

    assert as_committed("%an <%ae>") == "Jo Doe <m@example.com>"


@pytest.mark.parametrize("name", [".", " ", "<>", '".,"', "\t"])
def test_a_name_that_git_reduces_to_nothing_is_ignored(
    as_committed: AsCommitted, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("GITLAB_USER_NAME", name)
    monkeypatch.setenv("GITLAB_USER_EMAIL", "jo@example.com")

    assert as_committed("%an <%ae>") == "cmd-bump-image-tag <jo@example.com>"


def signed(home: Path, **settings: str) -> None:
    """Has git's configuration say that commits are signed by an SSH key of the test's own."""
    key = home / "signing"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    (home / "allowed").write_text(f"* {key.with_suffix('.pub').read_text()}")
    defaults = {
        "gpg.format": "ssh",
        "gpg.ssh.allowedSignersFile": str(home / "allowed"),
        "user.signingkey": str(key),
        "commit.gpgsign": "true",
    }
    for name, value in (defaults | settings).items():
        subprocess.run(["git", "config", "--global", name, value], check=True)


@pytest.mark.parametrize(("wanted", "shown"), [("true", "G"), ("false", "N")])
def test_commits_are_signed_with_ssh_if_git_is_configured_so(
    as_committed: AsCommitted, home: Path, wanted: str, shown: str
) -> None:
    signed(home, **{"commit.gpgsign": wanted})

    assert as_committed("%G?") == shown


def test_commits_are_signed_with_gpg_if_git_is_configured_so(
    as_committed: AsCommitted, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A socket's path is short, and that of a test's folder is not.
    monkeypatch.setenv("GNUPGHOME", str(home / "gpg"))
    (home / "gpg").mkdir(mode=0o700)
    (home / "gpg" / "gpg.conf").write_text("pinentry-mode loopback\n")
    subprocess.run(
        ["gpg", "--batch", "--quiet", "--passphrase", "", "--quick-gen-key", "Bot <b@example.com>"],
        check=True, capture_output=True,
    )  # fmt: skip
    for name, value in (
        ("user.name", "Bot"), ("user.email", "b@example.com"), ("commit.gpgsign", "yes"),
    ):  # fmt: skip
        subprocess.run(["git", "config", "--global", name, value], check=True)
    try:
        assert as_committed("%G?") == "G"
    finally:
        subprocess.run(["gpgconf", "--kill", "all"], check=False)


def test_12_a_commit_that_cannot_be_signed_is_not_made(
    invoke: Invoke, project: Project, home: Path
) -> None:
    signed(home, **{"user.signingkey": str(home / "nowhere")})

    ending = invoke(cli, *LOCAL, str(project.repository))

    assert ending.code == 12, ending.stderr
    assert "commit.gpgsign" in ending.stderr
    assert log(project) == ["Initial commit"]


# Repositories


@pytest.mark.parametrize("object_format", ["sha1", "sha256"])
def test_a_repository_of_either_object_format_is_bumped(
    invoke: Invoke, tmp_path: Path, object_format: str
) -> None:
    work = tmp_path / "work"
    who = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    subprocess.run(
        ["git", "init", "-q", "-b", "main", f"--object-format={object_format}", str(work)],
        check=True,
    )
    (work / "web.yaml").write_bytes(DEPLOYMENT.encode())
    subprocess.run(["git", "-C", str(work), "add", "."], check=True)
    subprocess.run(["git", *who, "-C", str(work), "commit", "-q", "-m", "First"], check=True)
    bare = tmp_path / "bare.git"
    subprocess.run(["git", "clone", "-q", "--bare", str(work), str(bare)], check=True)

    ending = invoke(cli, *LOCAL, f"file://{bare}")

    assert ending.code == 0, ending.stderr
    shown = subprocess.run(
        ["git", "--git-dir", str(bare), "show", "main:web.yaml"], check=True, capture_output=True
    ).stdout
    assert shown == BUMPED.encode()


def test_the_repository_in_the_callers_environment_is_not_changed(
    run: Run, gitlab: Sandbox, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a hook, or in `git rebase --exec`."""
    other = tmp_path / "other"
    subprocess.run(["git", "init", "-q", str(other)], check=True)
    before = sorted(map(str, other.rglob("*")))
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git" / "index"))

    ending = run(*BUMP)

    assert ending.code == 0, ending.stderr
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name)
    assert text(gitlab, project, "apps/web.yaml") == BUMPED
    assert sorted(map(str, other.rglob("*"))) == before


def test_what_a_hook_says_is_shown_without_what_a_terminal_obeys(
    invoke: Invoke, project: Project, tmp_path: Path
) -> None:
    bare = tmp_path / "bare.git"
    subprocess.run(["git", "clone", "-q", "--bare", str(project.repository), str(bare)], check=True)
    hook = bare / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(
        "#!/bin/sh\nprintf 'No \\033[2J\\033]0;x\\007way \\342\\200\\256.\\n'; exit 1\n"
    )
    hook.chmod(0o755)

    ending: Ending = invoke(cli, *LOCAL, str(bare), "--output", "json")

    assert ending.code == 6, ending.stderr
    assert "No " in ending.stderr
    shown = (ending.stderr + ending.stdout).replace("\n", "").replace("\r", "")
    assert not set(shown) & set("\x1b\x07\u202e")


@pytest.fixture
def latin(project: Project, tmp_path: Path) -> Project:
    """A project with a file whose name is not UTF-8."""
    work = tmp_path / "work"
    subprocess.run(["git", "clone", "-q", str(project.repository), str(work)], check=True)
    Path(os.fsdecode(bytes(work) + b"/caf\xe9.yaml")).write_text(f"image: {WEB}:v1.0.0\n")
    subprocess.run(["git", "-C", str(work), "add", "."], check=True)
    subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(work), "commit", "-qm", "x"],
        check=True,
    )
    subprocess.run(["git", "-C", str(work), "push", "-q", "origin", "HEAD:main"], check=True)
    return project


@pytest.mark.usefixtures("latin")
@pytest.mark.parametrize("output", ["json", "text"])
def test_file_names_that_are_not_utf_8_reach_the_message(
    as_committed: AsCommitted, output: str
) -> None:
    subject = as_committed("%s", "--commit-message", "{files}", "--output", output)

    assert subject == "apps/web.yaml, caf?.yaml [skip ci]"


def test_12_a_file_that_the_api_cannot_name_is_refused(run: Run, latin: Project) -> None:
    ending = run(*BUMP[:-1], "api")

    assert ending.code == 12, ending.stderr
    assert "--via git" in ending.stderr
    assert log(latin)[0] == "x"


def test_a_merge_request_names_it_in_its_description(run: Run, latin: Project) -> None:
    assert run(*BUMP, "--merge-request").code == 0
    assert "`caf?.yaml:1`" in latin.merge_requests[0].description

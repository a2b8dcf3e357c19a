"""Where the logins for a registry come from, and which is whose."""

from __future__ import annotations

import base64
import contextlib
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cicd_common.errors import UsageError
from cicd_common.registry.logins import FoundLogins, Login, Logins, checked_host, host_of

if TYPE_CHECKING:
    from pathlib import Path

HOST = "registry.example.com"
JOB = {
    "CI_REGISTRY": HOST,
    "CI_REGISTRY_USER": "ci",
    "CI_REGISTRY_PASSWORD": "job-password",
}


def auth(text: str) -> dict[str, str]:
    return {"auth": base64.b64encode(text.encode()).decode()}


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(tmp_path)


class Config:
    """A folder with a config.json, and an environment that names it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "config.json"
        self.environ = {"DOCKER_CONFIG": str(folder)}

    def write(self, **content: Any) -> None:
        self.path.write_text(json.dumps(content))

    def find(self, host: str = HOST, repository: str = "", **environ: str) -> FoundLogins:
        return Logins(self.environ | environ).find(host, repository)

    def users(self, host: str = HOST, repository: str = "", **environ: str) -> list[str]:
        return [login.user for login in self.find(host, repository, **environ).logins]


def test_a_jobs_variables_are_used_only_for_its_own_registry(config: Config) -> None:
    (found,) = config.find(**JOB).logins
    assert found == Login("ci", "CI_REGISTRY_USER", "job-password")
    assert "job-password" not in repr(found)
    assert config.users("other.example.com", **JOB) == []


@pytest.mark.parametrize("name", JOB)
def test_an_incomplete_login_of_a_job_is_none(config: Config, name: str) -> None:
    rest = {each: text for each, text in JOB.items() if each != name}
    assert config.users(**rest) == config.users(**rest, **{name: ""}) == []


@pytest.mark.parametrize(
    "spelled", [HOST, f"https://{HOST}", f"{HOST}/", f"{HOST}/group/name", HOST.upper()]
)
def test_a_jobs_registry_is_recognized_in_any_spelling(config: Config, spelled: str) -> None:
    assert config.users(**(JOB | {"CI_REGISTRY": spelled})) == ["ci"]


@pytest.mark.parametrize(
    "spelled",
    ["docker.io", "index.docker.io", "registry-1.docker.io", "https://index.docker.io/v1/"],
)
def test_docker_hub_is_recognized_by_all_its_names(config: Config, spelled: str) -> None:
    config.write(auths={spelled: auth("me:password")})
    assert config.users("docker.io", **(JOB | {"CI_REGISTRY": spelled})) == ["ci", "me"]


@pytest.mark.parametrize(
    ("key", "found"),
    [
        (HOST, True),
        (f"http://{HOST}", True),
        (f"https://{HOST}", True),
        (f"https://{HOST}/", True),
        (f"https://{HOST}/v1/", True),
        (f"{HOST}/", True),
        (f"{HOST}/group", True),
        (f"{HOST}/group/web", True),
        (f"{HOST}/group/we", False),
        (f"{HOST}/other", False),
        (f"{HOST}:5000", False),
        (f"evil-{HOST}", False),
        (f"{HOST}.evil.example", False),
    ],
)
def test_the_keys_of_the_file_are_read_in_all_spellings(
    config: Config, key: str, *, found: bool
) -> None:
    config.write(auths={key: auth("me:pass:word")})
    logins = config.find(repository="group/web").logins
    assert logins == ((Login("me", str(config.path), "pass:word"),) if found else ())


def test_the_login_of_the_longest_path_is_tried_first(config: Config) -> None:
    entries = {HOST: "host", f"{HOST}/group": "group", f"{HOST}/group/web": "web"}
    config.write(auths={key: auth(f"{user}:password-{user}") for key, user in entries.items()})
    assert config.users(repository="group/web") == ["web", "group", "host"]
    assert config.users(repository="group/api") == ["group", "host"]


@pytest.mark.parametrize(
    ("entry", "login"),
    [
        ({"username": "me", "password": "password"}, Login("me", "", "password")),
        ({"auth": auth("me:password")["auth"] + "\n"}, Login("me", "", "password")),
        (auth("me:password\0\0"), Login("me", "", "password")),
        (auth(":password"), Login("", "", "password")),
        ({"identitytoken": "", **auth("me:password")}, Login("me", "", "password")),
        ({"auth": "", "username": "me", "password": "password"}, Login("me", "", "password")),
        (
            {"auth": auth("0000:")["auth"], "identitytoken": "token-of-azure"},
            Login("", "", "token-of-azure", is_identity_token=True),
        ),
    ],
)
def test_each_form_of_an_entry_is_read(config: Config, entry: dict[str, str], login: Login) -> None:
    config.write(auths={HOST: entry})
    (found,) = config.find().logins
    assert (found.user, found.password, found.is_identity_token) == (
        login.user,
        login.password,
        login.is_identity_token,
    )


@pytest.mark.parametrize(
    "entry",
    [
        {"username": "me"},
        {"password": "password"},
        {"username": "", "password": "password"},
        {"username": "me", "password": ""},
        {"username": 5, "password": "password"},
        {"auth": "bWU"},
        {"auth": "ä"},
        {"auth": auth("me")["auth"]},
        {"auth": 5},
        {"identitytoken": 5},
    ],
    ids=str,
)
def test_a_broken_entry_is_skipped_with_a_warning(
    config: Config, entry: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    config.write(auths={HOST: entry, f"{HOST}/group": {}, "other.example.com": {"auth": "?"}})
    assert config.users(repository="group/web") == []
    assert [record.getMessage() for record in caplog.records] == [
        f"{config.path} has a broken entry for {HOST}."
    ]


def test_logins_are_tried_in_the_order_job_file_variable_podman_deploy_token(
    config: Config, tmp_path: Path
) -> None:
    config.write(auths={HOST: auth("file:password-1")})
    podman = tmp_path / "auth.json"
    podman.write_text(json.dumps({"auths": {HOST: auth("podman:password-3")}}))
    assert config.users(
        **JOB,
        DOCKER_AUTH_CONFIG=json.dumps({"auths": {HOST: auth("variable:password-2")}}),
        REGISTRY_AUTH_FILE=str(podman),
        CI_DEPLOY_USER="deploy",
        CI_DEPLOY_PASSWORD="password-4",
    ) == ["ci", "file", "variable", "podman", "deploy"]


def test_the_login_files_of_podman_are_read(config: Config, tmp_path: Path) -> None:
    for number, variable in enumerate(("XDG_RUNTIME_DIR", "XDG_CONFIG_HOME")):
        file = tmp_path / variable / "containers/auth.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps({"auths": {HOST: auth(f"user{number}:password-{number}")}}))
    places = {name: str(tmp_path / name) for name in ("XDG_RUNTIME_DIR", "XDG_CONFIG_HOME")}
    assert config.users(**places) == ["user0", "user1"]


def test_the_dependency_proxy_has_its_own_login(config: Config) -> None:
    environ = {
        "CI_DEPENDENCY_PROXY_SERVER": f"{HOST}:443",
        "CI_DEPENDENCY_PROXY_USER": "proxy",
        "CI_DEPENDENCY_PROXY_PASSWORD": "proxy-password",
    }
    assert config.users(f"{HOST}:443", **environ) == ["proxy"]
    assert config.users("other.example.com", **environ) == []


def test_without_a_home_there_are_no_files() -> None:
    assert Logins({}).find(HOST) == FoundLogins()


@pytest.mark.parametrize("text", ["{", "[]", "null", '"x"', "\xff", "[" * 100_000])
def test_an_unreadable_configuration_is_skipped_with_a_warning(
    config: Config, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    config.path.write_text(text, encoding="latin-1")
    assert config.users(**JOB) == ["ci"]
    assert str(config.path) in caplog.text


def test_an_empty_configuration_causes_no_warning(
    config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    config.path.write_text("")
    assert config.find() == FoundLogins()
    assert not caplog.records


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
)


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(auths=JSON, entry=JSON, secret=JSON, token=JSON, helpers=st.none() | st.lists(JSON))
def test_any_json_configuration_can_be_read(
    config: Config, auths: Any, entry: Any, secret: Any, token: Any, helpers: Any
) -> None:
    for content in (
        {"auths": auths, "credHelpers": helpers},
        {"auths": {HOST: entry}},
        {"auths": {HOST: {"auth": secret, "identitytoken": token}}},
        {"auths": {HOST: {"username": secret, "password": token}}},
    ):
        config.write(**content)
        config.find()


def helper(folder: Path, script: str) -> str:
    program = folder / "docker-credential-test"
    program.write_text(f"#!/bin/sh\nread host || true\n{script}\n")
    program.chmod(0o755)
    return "test"


ANSWERS = """printf '{"ServerURL": "%s", "Username": "me", "Secret": "%s"}' "$host" "of $host" """


@pytest.mark.parametrize(
    "content",
    [
        {"credsStore": "test"},
        {"credHelpers": {HOST: "test"}},
        {"credHelpers": {f"https://{HOST}": "test"}, "credsStore": "other"},
    ],
)
def test_a_credential_helper_is_called(
    config: Config, tmp_path: Path, content: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    helper(tmp_path, ANSWERS)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    config.write(**content)
    (found,) = config.find().logins
    assert found == Login("me", "docker-credential-test", f"of {HOST}")


def test_a_helper_gets_neither_the_commands_own_tokens_nor_other_logins(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper(tmp_path, f"env > {tmp_path}/variables\n{ANSWERS}")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    hidden = {
        *("COMMANDS_API_TOKEN", "TRIGGER_TOKEN", "DOCKER_AUTH_CONFIG", "CI_REGISTRY_PASSWORD"),
        *("CI_DEPENDENCY_PROXY_PASSWORD", "CI_DEPLOY_PASSWORD"),
    }
    for name in (*hidden, "GITLAB_TOKEN"):
        monkeypatch.setenv(name, f"of {name}")
    config.write(credsStore="test")
    config.find()
    given = (tmp_path / "variables").read_text()
    assert "of GITLAB_TOKEN" in given  # `glab auth docker-helper` logs in with it
    assert [name for name in hidden if f"of {name}" in given] == []


def test_a_helper_is_called_once_for_each_host(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper(tmp_path, f"echo asked >> {tmp_path}/calls\n{ANSWERS}")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    config.write(credsStore="test")
    logins = Logins(config.environ)
    for name in ("web", "api", "db"):
        assert len(logins.find(HOST, name).logins) == 1
    assert (tmp_path / "calls").read_text() == "asked\n"


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("echo 'ExpiredToken: run aws sso login'; exit 1", "run aws sso login"),
        ("echo []", "did not print a login"),
        ("echo null", "did not print a login"),
        ("echo '\"x\"'", "did not print a login"),
        ("echo nonsense", "did not print a login"),
        ("printf '\\377\\376'", "did not print a login"),
        ("""echo '{"Username": 5, "Secret": ["x"]}'""", "did not print a login"),
        ("""echo '{"Username": "me"}'""", "did not print a login"),
        ("""echo '{"Secret": "x"}'""", "did not print a login"),
        ("""echo '{"Username": 5, "Secret": "x"}'""", "did not print a login"),
        ("""echo '{"Username": "me", "Secret": 5}'""", "did not print a login"),
        ("head -c 100000 /dev/zero | tr '\\0' '['", "did not print a login"),
        ("printf 'two\\nlines\\033[31m'; exit 1", "failed: two lines"),
    ],
)
def test_a_failing_helper_causes_a_warning_with_its_reason(
    config: Config, tmp_path: Path, script: str, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper(tmp_path, script)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    config.write(credsStore="test", auths={HOST: auth("file:password")})
    found = config.find()
    assert [login.user for login in found.logins] == ["file"]
    assert problem in found.problems[0]


def test_a_helper_that_hangs_is_stopped(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper(tmp_path, "exec sleep 600")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr("cicd_common.registry.logins.HELPER_SECONDS", 0.1)
    config.write(credsStore="test")
    assert config.find().problems == ("docker-credential-test did not respond within 0.1 s",)


def test_a_helper_that_cannot_be_run_causes_a_warning(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper(tmp_path, "")
    (tmp_path / "docker-credential-test").write_bytes(b"\0")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    config.write(credsStore="test")
    assert "docker-credential-test cannot be run: " in config.find().problems[0]


def test_a_broken_variable_is_skipped_and_not_shown(
    config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    assert config.users(**JOB, DOCKER_AUTH_CONFIG="{secret-text") == ["ci"]
    assert "DOCKER_AUTH_CONFIG is ignored" in caplog.text
    assert "secret-text" not in caplog.text


def test_a_file_that_cannot_be_read_is_skipped_with_its_reason(
    config: Config, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write(auths={})

    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(config.path), "read_text", refuse)
    assert config.users(**JOB) == ["ci"]
    assert "config.json is ignored: Permission denied." in caplog.text


def test_without_a_repository_the_logins_of_all_its_paths_are_found(config: Config) -> None:
    config.write(auths={HOST: auth("host:p1"), f"{HOST}/group": auth("group:p2")})
    assert [login.user for login in Logins(config.environ).find(HOST).logins] == ["group", "host"]


@pytest.mark.parametrize(
    "script",
    [
        "echo 'credentials not found in native keychain'; exit 1",
        "echo 'Credentials not found in native keychain' >&2; exit 1",
        """echo '{"Username": "me", "Secret": ""}'""",
    ],
)
def test_a_helper_without_a_login_causes_no_warning(
    config: Config, tmp_path: Path, script: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper(tmp_path, script)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    config.write(credsStore="test")
    assert config.find() == FoundLogins()


def test_a_missing_helper_causes_a_warning(config: Config) -> None:
    config.write(credsStore="of-no-one", auths={HOST: auth("file:password")})
    found = config.find()
    assert [login.user for login in found.logins] == ["file"]
    assert found.problems == ("docker-credential-of-no-one is not installed here",)


def test_a_helper_can_return_an_identity_token(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper(tmp_path, """printf '{"Username": "<token>", "Secret": "token-of-azure"}'""")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    config.write(credsStore="test")
    (found,) = config.find().logins
    assert (found.password, found.is_identity_token) == ("token-of-azure", True)


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("https://Registry.example.com:5000/v2/", "registry.example.com:5000"),
        ("index.docker.io/v1/", "docker.io"),
        ("[::1]:5000", "[::1]:5000"),
    ],
)
def test_the_host_is_parsed_from_the_address(address: str, host: str) -> None:
    assert host_of(address) == host


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("https://Registry.example.com:5000/v2/", "registry.example.com:5000"),
        ("docker.io", "docker.io"),
        ("localhost", "localhost"),
        ("[::1]:5000", "[::1]:5000"),
        ("127.0.0.1:65535", "127.0.0.1:65535"),
    ],
)
def test_the_host_of_a_registry_is_accepted(address: str, host: str) -> None:
    assert checked_host(address) == host


@pytest.mark.parametrize(
    "address",
    [
        *("", " ", "http://", "/", "a b", "a\nb", "ä.example", "-x", "$CI_REGISTRY", "[::1", "h:x"),
        *("h:0", "h:65536", "h:", "a..b", "[:::]", "me:secret@registry.example.com"),
    ],
)
def test_what_is_not_the_host_of_a_registry_is_refused(address: str) -> None:
    with pytest.raises(UsageError) as caught:
        checked_host(address)
    assert "secret" not in caught.value.message


@given(address=st.text())
def test_any_address_has_a_host_or_is_refused(address: str) -> None:
    with contextlib.suppress(UsageError):
        assert urlsplit(f"//{checked_host(address)}").port != 0

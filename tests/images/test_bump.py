"""cmd-bump-image-tag's image: it edits a mounted checkout, and brings its own git and ssh."""

from __future__ import annotations

import io
import subprocess
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from docker import DockerClient
    from docker.models.volumes import Volume

    from sandbox import Sandbox
    from sandbox.model import Project, Token
    from tests.images.conftest import Run

pytestmark = pytest.mark.docker

PATH = "/src/checkout"
OWNER, GROUP = 1234, 4321
DATABASE = 999
SCRATCH = {"/tmp": ""}  # noqa: S108 - in a container that has nothing else


@pytest.fixture
def volume(engine: DockerClient) -> Iterator[Volume]:
    """In place of a folder of this machine, which the engine may not share."""
    made = engine.volumes.create()
    yield made
    made.remove(force=True)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with a file to bump, one that git ignores, and the folder of a database."""
    folder = tmp_path_factory.mktemp("checkout")
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    (folder / ".gitignore").write_text("ignored.yaml\n")
    for name in ("web.yaml", "ignored.yaml"):
        (folder / name).write_bytes(b"image: nginx:1.25\r\n")
    (folder / "data").mkdir()
    return folder


@dataclass(frozen=True)
class Mounted:
    """How a bump of a mounted checkout ended."""

    code: int
    output: str
    texts: dict[str, bytes]
    modes: dict[str, tuple[int, int, int]]


@pytest.fixture
def bump_mounted(
    engine: DockerClient, images: dict[str, str], volume: Volume, repository: Path
) -> Callable[..., Mounted]:
    """Bumps in a mounted checkout of another user, with the modes of its folder and file."""

    def packed(folder_mode: int, file_mode: int) -> bytes:
        def foreign(member: tarfile.TarInfo) -> tarfile.TarInfo:
            modes = {"checkout": folder_mode, "checkout/web.yaml": file_mode}
            member.mode = modes.get(member.name, 0o755 if member.isdir() else 0o644)
            member.uid, member.gid = OWNER, GROUP
            if member.name == "checkout/data":
                member.uid, member.mode = DATABASE, 0o700
            return member

        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as tar:
            tar.add(repository, "checkout", filter=foreign)
        return data.getvalue()

    def bump(folder_mode: int, file_mode: int, **settings: Any) -> Mounted:
        container = engine.containers.create(
            images["cmd-bump-image-tag"],
            ["--image", "nginx", "--tag", "1.26"],
            volumes={volume.name: {"bind": "/src", "mode": "rw"}},
            working_dir=PATH,
            network_mode="none",
            **settings,
        )
        try:
            container.put_archive("/src", packed(folder_mode, file_mode))
            container.start()
            code = container.wait()["StatusCode"]
            chunks, _ = container.get_archive(PATH)
            with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tar:
                members = [each for each in tar if "/.git/" not in each.name]
                texts = {
                    member.name.rpartition("/")[2]: content.read()
                    for member in members
                    if (content := tar.extractfile(member))
                }
            output = container.logs().decode()
        finally:
            container.remove(force=True)
        modes = {each.name: (each.uid, each.gid, each.mode & 0o777) for each in members}
        return Mounted(code, output, texts, modes)

    return bump


LOCKED: dict[str, Any] = {"cap_drop": ["ALL"], "read_only": True}
ROOT = "0:0"


@pytest.mark.parametrize(
    ("settings", "folder_mode", "file_mode"),
    [
        ({"user": f"{OWNER}:{GROUP}", **LOCKED}, 0o755, 0o640),
        # A GitLab runner's own checkout: writable by all, for it does not know the image's user.
        (LOCKED, 0o777, 0o666),
        (LOCKED, 0o755, 0o666),
        ({"user": "1000650000:0", **LOCKED}, 0o777, 0o666),
        ({"user": ROOT}, 0o700, 0o600),
        ({"user": ROOT, **LOCKED}, 0o755, 0o666),
    ],
    ids=[
        "as its owner",
        "open to all",
        "only the file",
        "as an unknown user",
        "as root",
        "as root without capabilities",
    ],
)
def test_owner_and_mode_stay_as_they_were(
    bump_mounted: Callable[..., Mounted],
    settings: dict[str, Any],
    folder_mode: int,
    file_mode: int,
) -> None:
    ending = bump_mounted(folder_mode, file_mode, **settings)

    assert ending.code == 0, ending.output
    assert ending.texts["web.yaml"] == b"image: nginx:1.26\r\n"
    # git lists the files, though the checkout belongs to another user.
    assert ending.texts["ignored.yaml"] == b"image: nginx:1.25\r\n"
    assert set(ending.texts) == {".gitignore", "web.yaml", "ignored.yaml"}
    assert ending.modes["checkout/web.yaml"] == (OWNER, GROUP, file_mode)
    warning = "data/:1: Skipped, because the folder cannot be read: Permission denied."
    assert (warning in ending.output) == (settings != {"user": ROOT})


@pytest.mark.parametrize(
    ("settings", "folder_mode", "file_mode", "message"),
    [
        ({}, 0o755, 0o644, "Cannot write web.yaml."),
        ({}, 0o755, 0o640, "Cannot read web.yaml."),
        ({}, 0o700, 0o644, f"Cannot read the folder {PATH}."),
        ({"user": ROOT, **LOCKED}, 0o755, 0o600, "Cannot read web.yaml."),
    ],
    ids=["to write", "to read", "to list", "as root without capabilities"],
)
def test_without_permission_it_says_to_run_as_the_owner(
    bump_mounted: Callable[..., Mounted],
    settings: dict[str, Any],
    folder_mode: int,
    file_mode: int,
    message: str,
) -> None:
    ending = bump_mounted(folder_mode, file_mode, **settings)

    assert ending.code == 12, ending.output
    assert message in ending.output
    assert 'docker run --user "$(id -u):$(id -g)"' in ending.output
    assert ending.texts["web.yaml"] == b"image: nginx:1.25\r\n"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "Connection refused"),
        ({"user": "1000650000:0"}, "No user exists for uid 1000650000"),
    ],
    ids=["a user of the image", "an unknown user"],
)
def test_ssh_runs_for_a_user_of_the_image_and_another_gets_the_words_of_ssh(
    run: Run, images: dict[str, str], settings: dict[str, Any], words: str
) -> None:
    ending = run(
        *("--image", "nginx", "--tag", "1.26", "--retry-for", "0"),
        *("--repository", "ssh://git@127.0.0.1:1/tech-lunch/k8s.git"),
        image=images["cmd-bump-image-tag"],
        network_mode="none",
        tmpfs=SCRATCH,
        **LOCKED,
        **settings,
    )

    assert ending.code == 8, ending.stderr
    assert words in ending.stderr
    assert ("HTTPS" in ending.stderr) == ("user" in settings)


@pytest.mark.parametrize(
    ("options", "code"),
    [({"tmpfs": SCRATCH}, 0), ({"user": "1234:4321", "tmpfs": SCRATCH}, 0), ({}, 2)],
    ids=["as nobody", "as anybody", "with nowhere to write"],
)
def test_it_pushes_by_git_from_a_container_that_may_do_nothing_else(
    run: Run,
    images: dict[str, str],
    gitlab: Sandbox,
    project: Project,
    token: Token,
    options: dict[str, object],
    code: int,
) -> None:
    before = gitlab.commit(project, {"web.yaml": "image: nginx:1.25\n"})

    ending = run(
        *("--image", "nginx", "--tag", "1.26", "--via", "git", "--project", project.path),
        image=images["cmd-bump-image-tag"],
        environment={"CI_SERVER_URL": gitlab.url, "COMMANDS_API_TOKEN": token.secret},
        cap_drop=["ALL"],
        read_only=True,
        **options,
    )

    assert ending.code == code, ending.stderr
    assert (gitlab.sha(project) != before) == (code == 0)
    assert code == 0 or "--tmpfs /tmp" in ending.stderr

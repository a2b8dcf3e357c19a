"""cmd-bump-image-tag's image: it edits a checkout as it stands, and brings its own git."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from docker import DockerClient
    from docker.models.volumes import Volume

    from sandbox import Sandbox
    from sandbox.model import Project, Token
    from tests.images.conftest import Run

pytestmark = pytest.mark.docker

PATH = "/src/checkout"
OWNER, GROUP = 1234, 4321
SCRATCH = {"/tmp": ""}  # noqa: S108 - in a container that has nothing else


@pytest.fixture
def volume(engine: DockerClient) -> Iterator[Volume]:
    """In place of a folder of this machine, which the engine may not share."""
    made = engine.volumes.create()
    yield made
    made.remove(force=True)


def checkout(folder_mode: int, file_mode: int) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        content = b"image: nginx:1.25\r\n"
        folder, file = tarfile.TarInfo("checkout"), tarfile.TarInfo("checkout/web.yaml")
        folder.type, folder.mode, file.mode, file.size = (
            tarfile.DIRTYPE,
            folder_mode,
            file_mode,
            len(content),
        )
        for member in (folder, file):
            member.uid, member.gid = OWNER, GROUP
        tar.addfile(folder)
        tar.addfile(file, io.BytesIO(content))
    return packed.getvalue()


LOCKED: dict[str, Any] = {"cap_drop": ["ALL"], "read_only": True}
OTHER = "65534:65534"


@pytest.mark.parametrize(
    ("settings", "folder_mode", "file_mode"),
    [
        ({}, 0o755, 0o644),
        ({}, 0o700, 0o600),
        ({"user": f"{OWNER}:{GROUP}", **LOCKED}, 0o755, 0o640),
        # A GitLab runner's own checkout: writable by all, because nobody knows who the image is.
        ({"user": OTHER, **LOCKED}, 0o777, 0o666),
        ({"user": OTHER, **LOCKED}, 0o755, 0o666),
        (LOCKED, 0o755, 0o666),
    ],
    ids=[
        "plainly",
        "private",
        "as its owner",
        "open to all",
        "only the file",
        "root without rights",
    ],
)
def test_owner_and_mode_stay_as_they_were(
    engine: DockerClient,
    images: dict[str, str],
    volume: Volume,
    settings: dict[str, Any],
    folder_mode: int,
    file_mode: int,
) -> None:
    container = engine.containers.create(
        images["cmd-bump-image-tag"],
        ["--image", "nginx", "--tag", "1.26"],
        volumes={volume.name: {"bind": "/src", "mode": "rw"}},
        working_dir=PATH,
        network_mode="none",
        **settings,
    )
    try:
        container.put_archive("/src", checkout(folder_mode, file_mode))
        container.start()
        code = container.wait()["StatusCode"]
        assert code == 0, container.logs().decode()
        chunks, _ = container.get_archive(PATH)
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tar:
            found = {member.name: member for member in tar}
            edited = tar.extractfile("checkout/web.yaml")
            assert edited is not None
            assert edited.read() == b"image: nginx:1.26\r\n"
    finally:
        container.remove(force=True)
    assert found.keys() == {"checkout", "checkout/web.yaml"}
    file = found["checkout/web.yaml"]
    assert (file.uid, file.gid, file.mode & 0o777) == (OWNER, GROUP, file_mode)


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

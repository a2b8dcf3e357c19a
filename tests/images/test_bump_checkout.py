"""`docker run -v "$PWD:/src" -w /src cmd-bump-image-tag …`: a checkout is edited as it stands."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from docker import DockerClient
    from docker.models.volumes import Volume

pytestmark = pytest.mark.docker

PATH = "/src/checkout"
OWNER, GROUP = 1234, 4321


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


@pytest.mark.parametrize(
    ("user", "folder_mode", "file_mode"),
    [
        (f"{OWNER}:{GROUP}", 0o755, 0o640),
        # A GitLab runner's own checkout: writable by all, because nobody knows who the image is.
        (None, 0o777, 0o666),
        (None, 0o755, 0o666),
    ],
    ids=["as its owner", "open to all", "only the file"],
)
def test_owner_and_mode_stay_as_they_were(
    engine: DockerClient,
    images: dict[str, str],
    volume: Volume,
    user: str | None,
    folder_mode: int,
    file_mode: int,
) -> None:
    container = engine.containers.create(
        images["cmd-bump-image-tag"],
        ["--image", "nginx", "--tag", "1.26"],
        volumes={volume.name: {"bind": "/src", "mode": "rw"}},
        working_dir=PATH,
        network_mode="none",
        cap_drop=["ALL"],
        read_only=True,
        user=user,
    )
    try:
        container.put_archive("/src", checkout(folder_mode, file_mode))
        container.start()
        code = container.wait(timeout=60)["StatusCode"]
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

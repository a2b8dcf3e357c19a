"""Pins the images of .gitlab-ci.yml and the Dockerfile to the digests that their tags have now.

    python3 .ci/renew_images.py

Asks each image's registry by `docker buildx imagetools inspect`, which needs no engine. If one
does not answer, nothing is written.
"""
# ruff: noqa: INP001 - a script, no part of a package

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
FILES = [ROOT / ".gitlab-ci.yml", ROOT / "dockerfiles/Dockerfile"]
# Where an image is named: an item of `.images` with its anchor, and the Dockerfile's argument.
NAMED = re.compile(
    r"^(  - &[\w-]+ |ARG PYTHON_IMAGE=)([^@\s]+)(?:@sha256:[0-9a-f]{64})?$", re.MULTILINE
)


def pinned(named: re.Match[str]) -> str:
    """The line of an image, with the digest that its tag has now.

    Raises:
        subprocess.CalledProcessError: The registry does not answer with one.
    """
    place, image = named.groups()
    ask = ["docker", "buildx", "imagetools", "inspect", "--format", "{{json .Manifest}}", image]
    answer = subprocess.run(ask, check=True, stdout=subprocess.PIPE, text=True).stdout
    digest = json.loads(answer)["digest"]
    sys.stdout.write(f"{image}@{digest}\n")
    return f"{place}{image}@{digest}"


if __name__ == "__main__":
    try:
        renewed = {path: NAMED.sub(pinned, path.read_text(encoding="utf-8")) for path in FILES}
    except subprocess.CalledProcessError as error:
        sys.exit(f"error: {error.cmd[-1]} has no digest; nothing is changed.")
    for path, text in renewed.items():
        path.write_text(text, encoding="utf-8")

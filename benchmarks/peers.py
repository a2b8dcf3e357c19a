"""What others do in place of a command, as short scripts: `python peers.py tag URL TOKEN ...`."""

from __future__ import annotations

import sys


def tag(url: str, token: str, project: str, name: str) -> None:
    """Tags a project, as the script of the tutorial does with which the project began."""
    import click  # noqa: F401, PLC0415 - the script reads its options with it
    import gitlab  # noqa: PLC0415

    found = gitlab.Gitlab(url, private_token=token).projects.get(project)
    found.tags.create({"tag_name": name, "ref": "main"})


def trigger(url: str, token: str, project: str) -> None:
    """Starts a pipeline with python-gitlab."""
    import gitlab  # noqa: PLC0415

    gitlab.Gitlab(url, private_token=token).projects.get(project).pipelines.create({"ref": "main"})


def bump(url: str, token: str, project: str, value: str) -> None:
    """Changes a tag in one file with python-gitlab, by replacing text."""
    import re  # noqa: PLC0415

    import gitlab  # noqa: PLC0415

    found = gitlab.Gitlab(url, private_token=token).projects.get(project)
    text = found.files.raw("web.yaml", ref="main").decode()
    change = {
        "action": "update",
        "file_path": "web.yaml",
        "content": re.sub(r"web:\S+", f"web:{value}", text),
    }
    message = f"Bump to {value}"
    found.commits.create({"branch": "main", "commit_message": message, "actions": [change]})


def ruamel(folder: str, image: str, value: str) -> None:
    """Changes a tag in each YAML file of a folder with ruamel.yaml."""
    from pathlib import Path  # noqa: PLC0415

    from ruamel.yaml import YAML  # noqa: PLC0415

    yaml = YAML()

    def change(node: object) -> bool:
        if isinstance(node, dict):
            found = str(node.get("image", "")).startswith(f"{image}:")
            if found:
                node["image"] = f"{image}:{value}"
            return sum(map(change, node.values())) > 0 or found
        return isinstance(node, list) and sum(map(change, node)) > 0

    for path in Path(folder).rglob("*.yaml"):
        text = path.read_bytes()
        if image.encode() in text and change(document := yaml.load(text)):
            yaml.dump(document, path)


def read(folder: str) -> None:
    """Reads each file of a folder."""
    from pathlib import Path  # noqa: PLC0415

    for path in Path(folder).rglob("*.yaml"):
        path.read_bytes()


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])

"""Writes the parts of the documents that follow from the code: option tables and exit codes.

`make docs` runs it; a test runs it with --check, so that the documents cannot fall behind.
A part stands between `<!-- generated: NAME -->` and `<!-- end of generated -->`.
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

import click
import yaml

from cicd_common.cli.options import CONNECTION, OUTPUT
from cicd_common.errors import ALL_ERRORS
from cicd_common.waiting.options import WAITING
from cicd_common.waiting.statuses import STATUSES, Phase
from cmd_bump_image_tag.formats import FORMATS, KEYS

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
DOCUMENTS = ("README.md", "docs/*.md")
PART = re.compile(
    r"(?P<begin><!-- generated: (?P<name>[^>]+?) -->\n).*?(?P<end><!-- end of generated -->)",
    re.DOTALL,
)


def commands() -> dict[str, click.Command]:
    """The console scripts of this distribution, by name."""
    return {
        script.name: sys.modules[script.load().__module__].cli
        for script in sorted(entry_points(group="console_scripts"), key=lambda each: each.name)
        if script.dist is not None and script.dist.name == "ci-cd-commands"
    }


def part(name: str) -> str:
    """The text of a generated part.

    Args:
        name: `image places`, `exit codes`, `statuses`, `shared options`, `options of COMMAND`,
            `waiting options of COMMAND`, `inputs of COMMAND`, or `function NAME`.
    """
    if name.startswith("inputs of "):
        return input_table(name.removeprefix("inputs of "))
    if name.startswith("function "):
        return function(name.removeprefix("function "))
    known = commands()
    if name == "image places":
        return image_places()
    if name == "statuses":
        return statuses()
    if name == "exit codes":
        return exit_codes()
    if name.startswith("waiting options of "):
        return option_table(known[name.removeprefix("waiting options of ")], WAITING)
    if name == "shared options":
        # The doctor has another default for --retry-for.
        return option_table(known["cmd-tag-project"], CONNECTION, OUTPUT)
    return option_table(known[name.removeprefix("options of ")], "Options")


def exit_codes() -> str:
    """The table of exit codes."""
    rows = [("0", "", "Done, or already so.")]
    rows += [(str(kind.exit_code), f"`{kind.kind}`", kind.meaning) for kind in ALL_ERRORS]
    rows.append(("130, 143", "", "Ended by SIGINT, SIGTERM."))
    return table(("code", "kind", "meaning"), rows)


def statuses() -> str:
    """The table of what a pipeline's status means for a wait."""
    of_phase = {Phase.ACTIVE: "active", Phase.BLOCKED: "blocked", Phase.FINISHED: "finished"}
    rows = []
    for meaning in dict.fromkeys(STATUSES.values()):
        names = [f"`{name}`" for name, its in STATUSES.items() if its == meaning]
        code = str(meaning.error.exit_code if meaning.error else 0)
        ends = meaning.phase is not Phase.ACTIVE
        rows.append((", ".join(names), of_phase[meaning.phase], code if ends else ""))
    return table(("status", "the pipeline", "exit code"), rows)


def image_places() -> str:
    """The table of the places where `cmd-bump-image-tag` finds images."""
    rows: list[tuple[str, ...]] = []
    for format_ in FORMATS:
        places: dict[str, list[str]] = {}
        for place in format_.places:
            places.setdefault(place.shape.value, []).append(f"`{place.path}`")
        rows += [(format_.name, shape, ", ".join(paths)) for shape, paths in places.items()]
        rows += [] if places else [(format_.name, "text", "all")]
    keys: list[tuple[str, ...]] = [
        (f"`{{{name}}}`", f"`{pattern}`") for name, pattern in KEYS.items()
    ]
    head = ("document", "what is read", "where")
    return f"{table(head, rows)}\n\n{table(('in a path', 'keys'), keys)}"


def option_table(command: click.Command, *groups: str) -> str:
    """The options of some groups of a command's help."""
    with click.Context(command, **command.context_settings) as context:
        rows = [
            (spelling(param), variables(param), meaning(param))
            for param in command.get_params(context)
            if isinstance(param, click.Option) and getattr(param, "group", OUTPUT) in groups
        ]
    return table(("option", "environment", "meaning"), rows)


def spelling(param: click.Option) -> str:
    """How an option is written."""
    value = "" if param.is_flag or param.count else f" {param.metavar or choices(param)}"
    names = sorted([*param.opts, *param.secondary_opts], key=lambda name: name.startswith("--"))
    return ", ".join(f"`{name}{value}`" for name in names)


def choices(param: click.Option) -> str:
    """The values of an option that has few."""
    return "|".join(param.type.choices) if isinstance(param.type, click.Choice) else "VALUE"


def variables(param: click.Option) -> str:
    """The environment variables that give an option's value."""
    names = [param.envvar] if isinstance(param.envvar, str) else param.envvar or []
    return ", ".join(f"`{name}`" for name in names)


def meaning(param: click.Option) -> str:
    """What the option's help says, and what holds without it."""
    extra = param.get_help_extra(click.get_current_context())
    default = f" Default: `{extra['default']}`." if "default" in extra else ""
    return f"{param.help}{default}{' Required.' if param.required else ''}"


def function(name: str) -> str:
    """A function of the Python interface: its arguments, and what it returns and raises.

    Args:
        name: Its name, which is that of its package without `cmd_`.
    """
    called = getattr(importlib.import_module(f"cmd_{name}"), name)
    sections = sections_of(inspect.getdoc(called) or "")
    known = inspect.signature(called).parameters
    rows = [
        (f"`{argument}`", default_text(known.get(argument)), meaning)
        for argument, meaning in entries(sections["Args"])
    ]
    ends = [f"Returns: {' '.join(sections['Returns'].split())}"]
    ends += [f"Raises `{error}`: {meaning}" for error, meaning in entries(sections["Raises"])]
    return "\n\n".join([table(("argument", "default", "meaning"), rows), *ends])


def default_text(parameter: inspect.Parameter | None) -> str:
    """A parameter's default as Python writes it; `required` without one."""
    if parameter is None or parameter.kind is parameter.VAR_KEYWORD:
        return ""
    if parameter.default is parameter.empty:
        return "required"
    return f"`{parameter.default!r}`"


def sections_of(doc: str) -> dict[str, str]:
    """The sections of a docstring in Google's style, by their headings."""
    parts = re.split(r"^(Args|Returns|Raises):\n", doc, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def entries(section: str) -> Iterator[tuple[str, str]]:
    """The entries of a section: each name and its text on one line."""
    for entry in re.split(r"^ {4}(?=\S)", section, flags=re.MULTILINE)[1:]:
        name, _, text = entry.partition(": ")
        yield name.strip(), " ".join(text.split())


def input_table(component: str) -> str:
    """The inputs of a component, as its file declares them."""
    header = next(iter(yaml.safe_load_all((ROOT / f"templates/{component}.yml").read_text())))
    rows = [
        (f"`{name}`", each["type"], each["description"], default_of(each))
        for name, each in header["spec"]["inputs"].items()
    ]
    return table(("input", "type", "meaning", "default"), rows)


def default_of(declaration: dict[str, object]) -> str:
    """An input's default, as YAML writes it."""
    if "default" not in declaration:
        return "required"
    default = declaration["default"]
    text = default if isinstance(default, str) else json.dumps(default)
    return f"`{text}`" if text else ""


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A table in Markdown."""

    def line(cells: tuple[str, ...]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return "\n".join([line(head), line(("---",) * len(head)), *map(line, rows)])


def generated(text: str) -> str:
    """A document with its generated parts made anew."""
    return PART.sub(lambda found: f"{found['begin']}{part(found['name'])}\n{found['end']}", text)


def documents() -> Iterator[Path]:
    """The documents that may hold generated parts."""
    for pattern in DOCUMENTS:
        yield from sorted(ROOT.glob(pattern))


def main() -> int:
    """Writes the parts, or with --check only tells whether they are as they should be."""
    stale = 0
    for path in documents():
        before = path.read_text(encoding="utf-8")
        after = generated(before)
        if before == after:
            continue
        stale += 1
        checks = "--check" in sys.argv
        print(f"{path.relative_to(ROOT)}: {'run `make docs`' if checks else 'written'}")  # noqa: T201 - a tool for people
        if not checks:
            path.write_text(after, encoding="utf-8")
    return stale if "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())

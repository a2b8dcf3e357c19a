from __future__ import annotations

import pytest

from cicd_common.errors import UsageError
from cmd_bump_image_tag.commit_message import (
    check_template,
    commit_message,
    is_bump,
    subject,
)
from cmd_bump_image_tag.images import Update
from cmd_bump_image_tag.result import Change

DIGEST = f"sha256:{'a' * 64}"
WEB = Update("example.com/web", "v2", DIGEST)
API = Update("example.com/api", "v2")
UNTOUCHED = Update("example.com/other", "v9")
CHANGES = [
    Change("a.yaml", 1, "example.com/web:v1", f"example.com/web:v2@{DIGEST}", "example.com/web"),
    Change("a.yaml", 7, "v0", "v2", "example.com/api"),
    Change("b.yaml", 1, "v1", "v2", "example.com/web"),
]
PIPELINE = "https://gitlab.example.com/g/p/-/pipelines/7"


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("Update image tag to {tag}", "Update image tag to v2"),
        ("{image}", "example.com/web, example.com/api"),
        ("{old} -> {tag}", "v1, v0 -> v2"),
        ("{digest}", DIGEST),
        ("{files}", "a.yaml, b.yaml"),
        ("from {upstream}", f"from {PIPELINE}"),
    ],
)
def test_every_value_is_in_the_message_once(template: str, text: str) -> None:
    assert subject(template, [WEB, API, UNTOUCHED], CHANGES, PIPELINE) == text


@pytest.mark.parametrize(
    ("old", "tag"),
    [
        ("example.com:5000/web:v1", "v1"),
        (f"example.com/web:v1@{DIGEST}", "v1"),
        ("example.com:5000/web", ""),
        ("v1", "v1"),
        (DIGEST, DIGEST),
        ("", ""),
    ],
)
def test_the_old_tag_is_read_from_the_old_value(old: str, tag: str) -> None:
    change = Change("a.yaml", 1, old, "v2", "example.com/web")
    assert subject("{old}", [WEB], [change], "") == tag


def test_a_bump_with_only_a_digest_is_named_by_its_digest() -> None:
    bump = Update("example.com/web", digest=DIGEST)
    change = Change("a.yaml", 1, "x", "y", "example.com/web")
    assert subject("{tag}", [bump], [change], "") == DIGEST


@pytest.mark.parametrize(
    ("skip_ci", "upstream", "message"),
    [
        (True, "", "v2 [skip ci]\n"),
        (False, "", "v2\n"),
        (
            True,
            PIPELINE,
            (
                f"v2 [skip ci]\n\nUpstream-Pipeline: {PIPELINE}\n"
                "Bumped-Image: example.com/web\nBumped-Image: example.com/api\n"
            ),
        ),
    ],
)
def test_skip_ci_and_trailers_follow_any_template(
    *, skip_ci: bool, upstream: str, message: str
) -> None:
    made = commit_message("{tag}", [WEB, API], CHANGES, upstream=upstream, skip_ci=skip_ci)
    assert made == message


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{tag}\n\nBody.", "v2 [skip ci]\n\nBody."),
        ("{tag}\n\nBody.\n\nSigned-off-by: Bot <b@example.com>", None),
        ("{tag} [skip ci]", "v2 [skip ci]"),
        ("{tag}\n\n[ci skip]", "v2\n\n[ci skip]"),
    ],
)
def test_skip_ci_is_once_at_the_end_of_the_subject(template: str, message: str | None) -> None:
    message = message or ("v2 [skip ci]\n\nBody.\n\nSigned-off-by: Bot <b@example.com>")
    assert commit_message(template, [WEB, API], CHANGES) == f"{message}\n"


def test_trailers_are_added_to_those_of_the_template() -> None:
    template = "{tag}\n\nSigned-off-by: Bot <b@example.com>\nCc: x"
    made = commit_message(template, [WEB], CHANGES[:1], upstream=PIPELINE, skip_ci=False)
    assert made == (
        "v2\n\nSigned-off-by: Bot <b@example.com>\nCc: x\n"
        f"Upstream-Pipeline: {PIPELINE}\nBumped-Image: example.com/web\n"
    )


def test_a_subject_in_the_form_of_a_trailer_is_not_a_trailer() -> None:
    made = commit_message("fix: {tag}", [WEB], CHANGES[:1], upstream=PIPELINE, skip_ci=False)
    assert made.startswith("fix: v2\n\nUpstream-Pipeline: ")


@pytest.mark.parametrize("skip_ci", [True, False])
def test_image_trailers_can_be_written_without_an_upstream_pipeline(*, skip_ci: bool) -> None:
    made = commit_message("x", [WEB], CHANGES[:1], skip_ci=skip_ci, names_images=True)
    assert made.partition("\n")[2] == "\nBumped-Image: example.com/web\n"
    assert is_bump(made)
    assert not is_bump("Bumped-Image is not a trailer here")


def test_a_line_break_in_the_upstream_url_adds_no_trailer() -> None:
    url = f"{PIPELINE}\nBumped-Image: example.com/other\n\nUpstream-Pipeline: x"
    made = commit_message("from {upstream}", [WEB], CHANGES[:1], upstream=url, skip_ci=False)
    assert len(made.splitlines()) == 4
    assert "Bumped-Image: example.com/other" not in made.splitlines()


@pytest.mark.parametrize("path", ["a\nBumped-Image: x.yaml", "\x1b[2Jb.yaml", "\udcff.yaml"])
def test_file_names_are_one_line_in_the_message(path: str) -> None:
    change = Change(path, 1, "v1", "v2", "example.com/web")
    made = commit_message("{files}", [WEB], [change], skip_ci=False)
    assert made.removesuffix("\n").isprintable()
    made.encode()


@pytest.mark.parametrize("template", ["", " ", "{nothing}", "{}", "{tag} {Image}"])
def test_a_template_that_cannot_be_filled_is_refused(template: str) -> None:
    with pytest.raises(UsageError):
        check_template(template)


def test_braces_that_are_not_a_placeholder_are_kept() -> None:
    check_template("{ tag } {tag!r}")
    assert subject("{ tag } {tag!r}", [WEB], CHANGES, "") == "{ tag } {tag!r}"

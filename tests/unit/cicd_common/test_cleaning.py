from __future__ import annotations

import base64
import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cicd_common import cleaning

SECRETS = st.text(st.characters(codec="utf-8"), min_size=8, max_size=40)


@given(secret=SECRETS, before=st.binary(max_size=8), after=st.binary(max_size=8))
def test_every_encoding_of_a_secret_is_hidden(secret: str, before: bytes, after: bytes) -> None:
    cleaning.forget()
    cleaning.hide(secret)
    encoded = base64.b64encode(before + secret.encode() + after).decode()
    for text in (secret, quote(secret, safe=""), quote_plus(secret), json.dumps(secret)):
        assert cleaning.HIDDEN in cleaning.redacted(f"a {text} b")
    assert cleaning.HIDDEN in cleaning.redacted(f"Authorization: Basic {encoded}")


@given(text=st.text())
def test_a_line_contains_no_control_characters(text: str) -> None:
    assert cleaning.one_line(text).isprintable()
    assert all(line.replace("\t", "").isprintable() for line in cleaning.lines(text).split("\n"))


def test_a_short_word_is_not_hidden() -> None:
    cleaning.hide("secret7")
    assert cleaning.redacted("secret7") == "secret7"


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("COMMANDS_API_TOKEN", "glpat-0123456789", "glpat-0123456789"),
        ("CI_JOB_TOKEN", "glcbt-0123456789", "glcbt-0123456789"),
        ("TRIGGER_TOKEN", "glptt-0123456789", "glptt-0123456789"),
        ("CI_REGISTRY_PASSWORD", "registry-password", "registry-password"),
        ("HTTPS_PROXY", "http://me:proxy-password@proxy:3128", "proxy-password"),
        ("http_proxy", "http://me:proxy-password@proxy:99999", "proxy-password"),
    ],
)
def test_the_secrets_of_a_job_are_hidden_even_if_they_are_not_used(
    name: str, value: str, text: str
) -> None:
    cleaning.hide_those_of({name: value})
    assert text not in cleaning.redacted(f"It says {text}.")


def test_text_that_is_not_secret_is_shown() -> None:
    cleaning.hide_those_of(
        {"CI_PROJECT_PATH": "group/service-01", "no_proxy": "localhost,10.0.0.1"}
    )
    assert cleaning.redacted("group/service-01 localhost") == "group/service-01 localhost"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://u:hush-hush@h/a.git", "https://h/a.git"),
        ("HTTPS://u:hush-hush@h/a", "HTTPS://h/a"),
        ("ssh://u:hush-hush@h/a", "ssh://h/a"),
        ("https:/u:hush-hush@h/a", "https:/h/a"),
        ("https::https://u:hush-hush@h/a", "https::https://h/a"),
        ("http://h:99999/a?private_token=hush-hush", "http://h:99999/a"),
        ("https://h/a@1", "https://h/a@1"),
        ("https://h/\x1b[2J", "https://h/?[2J"),
    ],
)
def test_an_address_is_shown_without_credentials(address: str, shown: str) -> None:
    assert cleaning.without_credentials(address) == shown

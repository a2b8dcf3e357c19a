import pytest

from sandbox.ci.errors import ConfigError
from sandbox.ci.expressions import parse

VARIABLES = {
    "BRANCH": "feature/login",
    "EMPTY": "",
    "BLANK": " ",
    "PATTERN": "/^feature/",
    "TEXT": "a longer text",
    "VERSION": "v1.2.3",
}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("$BRANCH", True),
        ("$EMPTY", False),
        ("$BLANK", False),
        ("$UNKNOWN", False),
        ('$BRANCH == "feature/login"', True),
        ("$BRANCH == 'main'", False),
        ("$BRANCH != 'main'", True),
        ("$UNKNOWN == null", True),
        ("$EMPTY == null", False),
        ('$EMPTY == ""', True),
        ('$UNKNOWN == ""', False),
        ("$BRANCH != null", True),
        ("$VERSION =~ /^v\\d+\\.\\d+\\.\\d+$/", True),
        ("$VERSION !~ /^v\\d/", False),
        ("$BRANCH =~ /FEATURE/", False),
        ("$BRANCH =~ /FEATURE/i", True),
        ("$BRANCH =~ /^feature\\/login\\z/", True),
        ("$BRANCH =~ $PATTERN", True),
        ("$VERSION =~ $PATTERN", False),
        ("$UNKNOWN =~ /x/", False),
        ("$UNKNOWN !~ /x/", True),
        ("$BRANCH =~ $UNKNOWN", False),
        ('"longer" =~ $TEXT', True),
        ("$BRANCH && $VERSION", True),
        ("$BRANCH && $EMPTY", False),
        ("$EMPTY || $VERSION", True),
        ('$EMPTY || $BRANCH && $VERSION == "v1.2.3"', True),
        ("($BRANCH || $VERSION) && $EMPTY", False),
        ("$BRANCH || $VERSION && $EMPTY", True),
        ('($BRANCH == "a" || ($VERSION =~ /^v/ && $TEXT))', True),
    ],
)
def test_an_expression_has_the_value_that_gitlab_gives_it(expression: str, expected: bool) -> None:
    assert parse(expression).holds(VARIABLES) is expected


@pytest.mark.parametrize(
    "expression",
    ["", "$A ==", "== $A", "$A $B", "($A", "$A)", "! $A", "$A = 'x'", "$A =~ /(/", "${A}", "$A &"],
)
def test_an_expression_that_gitlab_cannot_parse_is_refused(expression: str) -> None:
    with pytest.raises(ConfigError, match="invalid expression syntax"):
        parse(expression)

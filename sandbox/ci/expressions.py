"""Expressions of `rules:if` and `only:variables`: their grammar and what they come to.

It is the grammar of GitLab's `lib/gitlab/ci/pipeline/expression`, which has no negation: `!$X` is
an error there, and here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from sandbox.ci.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Value = str | bool | re.Pattern[str] | None
    Evaluate = Callable[[Mapping[str, str]], Value]

_TOKEN = re.compile(
    r"""(?P<variable>\$\w+)
      | (?P<string>"[^"]*"|'[^']*')
      | (?P<operator>==|!=|=~|!~|&&|\|\||\(|\))
      | (?P<pattern>/(?:[^/\\]|\\.)+/[ismU]*)
      | (?P<null>null\b)
    """,
    re.VERBOSE | re.DOTALL,
)
_PATTERN = re.compile(r"/(?P<source>(?:[^/\\]|\\.)+)/(?P<flags>[ismU]*)", re.DOTALL)
# RE2's U makes operators ungreedy, which changes what is matched, never whether something is.
_FLAGS = {"i": re.IGNORECASE, "s": re.DOTALL, "m": re.MULTILINE, "U": re.NOFLAG}


class _Token(NamedTuple):
    kind: str
    text: str


@dataclass(frozen=True)
class Condition:
    """An expression that was read once and can be asked often."""

    text: str
    evaluate: Evaluate

    def holds(self, variables: Mapping[str, str]) -> bool:
        """Whether the expression is true; an empty or blank value is not."""
        return _present(self.evaluate(variables))


def parse(text: str) -> Condition:
    """Reads an expression.

    Raises:
        ConfigError: It is none; the text is the one that GitLab has for it.
    """
    try:
        tokens = _Tokens(text)
        evaluate = _either(tokens)
        tokens.end()
    except ValueError as error:
        raise ConfigError(f"invalid expression syntax: {text}") from error
    return Condition(text, evaluate)


def pattern(text: str) -> re.Pattern[str] | None:
    """Reads a regular expression from a text like `/^v/i`; None if the text writes none.

    Raises:
        ValueError: It is written as one, and is wrong.
    """
    match = _PATTERN.fullmatch(text)
    if not match:
        return None
    flags = re.NOFLAG
    for letter in match["flags"]:
        flags |= _FLAGS[letter]
    # RE2's \z is Python's \Z
    source = match["source"].replace(r"\/", "/").replace(r"\z", r"\Z")
    try:
        return re.compile(source, flags)
    except re.error as error:
        raise ValueError(f"Invalid regular expression! {error}") from error


class _Tokens:
    """The tokens of an expression, read from the left."""

    def __init__(self, text: str) -> None:
        self._tokens: list[_Token] = []
        position = 0
        text = text.rstrip()
        while position < len(text):
            if text[position].isspace():
                position += 1
                continue
            match = _TOKEN.match(text, position)
            if not match or not match.lastgroup:
                raise ValueError("Unknown lexeme found!")
            self._tokens.append(_Token(match.lastgroup, match[0]))
            position = match.end()
        self._tokens.reverse()

    def take(self, *operators: str) -> str | None:
        """The next token if it is one of these operators."""
        if self._tokens and self._tokens[-1].kind == "operator":
            text = self._tokens[-1].text
            if text in operators:
                self._tokens.pop()
                return text
        return None

    def operand(self) -> _Token:
        """The next token, which has to be a value."""
        if not self._tokens or self._tokens[-1].kind == "operator":
            raise ValueError("a value is missing")
        return self._tokens.pop()

    def end(self) -> None:
        """Makes sure that nothing is left."""
        if self._tokens:
            raise ValueError("something follows the expression")


def _either(tokens: _Tokens) -> Evaluate:
    value = _both(tokens)
    while tokens.take("||"):
        value = _or(value, _both(tokens))
    return value


def _both(tokens: _Tokens) -> Evaluate:
    value = _comparison(tokens)
    while tokens.take("&&"):
        value = _and(value, _comparison(tokens))
    return value


def _or(left: Evaluate, right: Evaluate) -> Evaluate:
    return lambda variables: _present(left(variables)) or _present(right(variables))


def _and(left: Evaluate, right: Evaluate) -> Evaluate:
    return lambda variables: _present(left(variables)) and _present(right(variables))


def _comparison(tokens: _Tokens) -> Evaluate:
    left = _value(tokens)
    operator = tokens.take(*_COMPARISONS)
    if not operator:
        return left
    compare, right = _COMPARISONS[operator], _value(tokens)
    return lambda variables: compare(left(variables), right(variables))


def _value(tokens: _Tokens) -> Evaluate:
    if tokens.take("("):
        inner = _either(tokens)
        if not tokens.take(")"):
            raise ValueError("a parenthesis is open")
        return inner
    token = tokens.operand()
    if token.kind == "variable":
        name = token.text[1:]
        return lambda variables: variables.get(name)
    constant = _constant(token)
    return lambda _: constant


def _constant(token: _Token) -> Value:
    if token.kind == "null":
        return None
    return token.text[1:-1] if token.kind == "string" else pattern(token.text)


def _present(value: Value) -> bool:
    return bool(value.strip()) if isinstance(value, str) else bool(value)


def _matches(text: Value, wanted: Value) -> bool:
    if wanted is None:
        return False
    text = text if isinstance(text, str) else ""
    if isinstance(wanted, str):
        # A variable that holds no /pattern/ is a plain text for GitLab, and *it* is searched.
        found = pattern(wanted)
        return bool(found.search(text)) if found else text in wanted
    return isinstance(wanted, re.Pattern) and bool(wanted.search(text))


_COMPARISONS: dict[str, Callable[[Value, Value], bool]] = {
    "==": lambda left, right: left == right,
    "!=": lambda left, right: left != right,
    "=~": _matches,
    "!~": lambda left, right: not _matches(left, right),
}

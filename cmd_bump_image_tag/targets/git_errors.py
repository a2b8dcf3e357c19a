"""Maps the messages of git to errors."""

from __future__ import annotations

import re

from cicd_common.cleaning import one_line
from cicd_common.errors import (
    Answer,
    AuthError,
    CommandError,
    ForbiddenError,
    NotFoundError,
    Refusal,
    RefusedError,
    TimeLimitError,
    UnavailableError,
)
from cmd_bump_image_tag.targets import LostRaceError


class ObjectFormatError(UnavailableError):
    """The repository uses SHA-256 object names, and the private one uses SHA-1."""


def _never_sent(message: str, *, why: str, hint: str) -> CommandError:
    return UnavailableError(message, why=why, hint=hint, sent=False)


def _hopeless(message: str, *, why: str, hint: str) -> CommandError:
    return UnavailableError(message, why=why, hint=hint, sent=False, retryable=False)


def _throttled(message: str, *, why: str, hint: str) -> CommandError:
    return TimeLimitError(message, why=why, hint=hint, answer=Answer(429, message), retryable=True)


_TEMPORARY = r"(408|425|499|5\d\d)"

# The first match is used; git and servers print several messages at once. The texts are those of
# git's `builtin/push.c`, `remote-curl.c`, `connect.c`, of libcurl and of OpenSSH.
_REFUSALS = (
    Refusal(
        r"\((fetch first|non-fast-forward|stale info|reference already exists)\)"
        r"|incorrect old value|failed to update ref|cannot lock ref",
        LostRaceError,
        "The branch keeps moving.",
        "Run this again, or allow more with --retry-for.",
    ),
    Refusal(
        r"mismatched algorithms",
        ObjectFormatError,
        "The repository names its objects by SHA-256, which this git does not know.",
        "Use a newer git.",
    ),
    Refusal(
        r"failed to sign|[Ss]igning[Kk]ey|Couldn't load public key",
        RefusedError,
        "git's configuration says that commits are signed (commit.gpgsign), and that failed.",
        "Check user.signingkey and gpg.format; or set commit.gpgsign=false.",
    ),
    Refusal(
        r"No user exists for uid",
        _hopeless,
        "ssh needs an entry in /etc/passwd for the user that this runs as.",
        "Run the container as a user that it has, mount an /etc/passwd, or use HTTPS.",
    ),
    Refusal(
        r"HTTP/0\.9|git-http-push failed",
        UnavailableError,
        "The answer is not HTTP, or not git's.",
        "Check the address; see the server's status.",
    ),
    Refusal(
        rf"CONNECT tunnel failed, response {_TEMPORARY}|HTTP code {_TEMPORARY} from proxy"
        r"|Proxy CONNECT aborted",
        _never_sent,
        "The proxy did not connect to the server.",
        "Try again later; see the proxy's status.",
    ),
    Refusal(
        r"CONNECT tunnel failed|from proxy after CONNECT",
        _hopeless,
        "The proxy refuses to connect to the server.",
        "Check the proxy settings, and the proxy's user name and password.",
    ),
    Refusal(
        r"\[remote rejected\]|hook declined",
        ForbiddenError,
        "A protected branch, a push rule or a hook of the project does not allow it.",
        "Ask a Maintainer of the project to allow it, or use --merge-request.",
    ),
    Refusal(
        r"Host key verification failed",
        _hopeless,
        "The server's SSH host key is unknown here, or has changed.",
        "Add it to ~/.ssh/known_hosts, as `ssh-keyscan` prints it.",
    ),
    Refusal(
        r"Authentication failed|Access denied|could not read (Username|Password)|Permission denied"
        r"|returned error: 401",
        AuthError,
        "The server does not accept the token or key, or none was given.",
        "Give an access token with the write_repository scope, or a deploy key with write access.",
    ),
    Refusal(
        r"repository .* not found|could not be found|does not appear to be a git repository"
        r"|returned error: 404",
        NotFoundError,
        "There is no such repository, or this token or key cannot see it.",
        "Check --project or --repository.",
    ),
    Refusal(
        r"[Cc]ouldn't find remote ref",
        NotFoundError,
        "The repository has no such branch.",
        "Check --branch.",
    ),
    Refusal(
        r"returned error: 403|[Nn]ot allowed|does not have write access",
        ForbiddenError,
        "The token or key is not allowed to do this in the project.",
        "For a job token: Settings > CI/CD > Job token permissions > Allow Git push requests.",
    ),
    Refusal(
        r"returned error: 30\d|from redirection",
        _hopeless,
        "A redirect is not followed with credentials.",
        "Give the new address, if you trust it.",
    ),
    Refusal(
        r"certificate|SSL_|gnutls",
        _hopeless,
        "The server's certificate is from an authority unknown here, or for another name.",
        "Give the authority's certificate with --ca-file.",
    ),
    Refusal(
        r"returned error: 429",
        _throttled,
        "GitLab limits how many requests it takes.",
        "Try again later, or allow more with --retry-for.",
    ),
    Refusal(
        r"[Cc]ould not resolve|[Ff]ailed to connect|[Cc]onnection refused|Couldn't connect"
        r"|[Nn]etwork is unreachable|No route to host|onnection timed out|port \d+: .*timed out",
        _never_sent,
        "There is no such host, or it does not answer.",
        "Check the address, the network and the proxy settings.",
    ),
    Refusal(
        rf"returned error: {_TEMPORARY}|RPC failed|early EOF|hung up"
        r"|[Cc]onnection (was )?reset|unexpected disconnect|too slow|Empty reply|transfer closed"
        r"|Recv failure|timed out",
        UnavailableError,
        "The server, or something before it, failed.",
        "Try again later; see the server's status.",
    ),
)


def error_of(output: str) -> CommandError:
    """Returns the error for a failure of git.

    Args:
        output: What git printed, in the C locale.
    """
    if row := Refusal.of(output, _REFUSALS):
        return row.make(_words(output), why=row.why, hint=row.hint)
    return UnavailableError(
        _words(output),
        why="git failed with an error that this command does not know.",
        hint="Try the same with git by hand.",
        retryable=False,
    )


def _words(output: str) -> str:
    """Returns the server's message, or else those of ssh and git."""
    remote = re.findall(r"^remote: (.*\w.*)$", output, re.MULTILINE)
    reasons = re.findall(r"^!\t\S+\t(.*)$", output, re.MULTILINE)
    ssh = re.findall(r"^(.*\w.*)\r?\nfatal: Could not read from remote", output, re.MULTILINE)
    own = re.findall(r"^(?:fatal|error|ssh): (.*)$", output, re.MULTILINE)
    said = remote or reasons or [*ssh, *own] or output.strip().splitlines()[-1:]
    words = dict.fromkeys(one_line(word).strip().removeprefix("ssh: ") for word in said)
    return " ".join(words).strip() or "git failed without a message."

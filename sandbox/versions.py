"""What differs between GitLab's versions, as far as the sandbox serves it: one table.

Where a source is "GitLab's source", it is the file of that name in `gitlab-org/gitlab`. "About"
marks a version that was derived from two files of different dates.
"""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT = "19.4"

Number = tuple[int, int]


@dataclass(frozen=True)
class Span:
    """The versions that behave in one way: from the first one on, up to the one that ended it."""

    since: Number = (0, 0)
    before: Number = (999, 0)


@dataclass(frozen=True)
class Version:
    """The version that a sandbox plays."""

    number: Number

    @classmethod
    def parse(cls, text: str) -> Version:
        """Read a version such as `18.2`.

        Raises:
            ValueError: The text is not a version.
        """
        major, _, minor = text.partition(".")
        return cls((int(major), int(minor)))

    def __str__(self) -> str:
        major, minor = self.number
        return f"{major}.{minor}.0"

    def has(self, span: Span) -> bool:
        """Return True if this version is one of the span's."""
        return span.since <= self.number < span.before


ALWAYS = Span()

# Routes that take a job token. Before that they ignore it, and the request is anonymous.

# GitLab's MR 216463, merged in December 2025.
TAG_BY_JOB_TOKEN = Span((18, 8))
# About: `lib/api/ci/pipelines.rb` of late 18.x takes it for the jobs alone, that of 19.2 for these
# too. GitLab's issue 467492 lists all of them as denied in 17.1.
PIPELINES_BY_JOB_TOKEN = Span((19, 0))
PIPELINE_JOBS_BY_JOB_TOKEN = Span((18, 4))
# About: GitLab's issue 545150; `doc/ci/jobs/ci_job_token.md` of 18.4 lists both routes.
MERGE_REQUESTS_BY_JOB_TOKEN = Span((18, 3))

# `lib/api/ci/pipelines.rb` of 19.2; before, `bridges` alone.
TRIGGER_JOBS = Span((19, 2))
# `doc/ci/inputs`: inputs for `POST pipeline` came with 17.11, for the trigger API with 18.1.
# Before, the parameter is ignored.
PIPELINE_INPUTS = Span((17, 11))
TRIGGER_INPUTS = Span((18, 1))
# GitLab's issue 557381 and MR 204230: TRIGGER_PAYLOAD counts as a variable that the user set.
PAYLOAD_IS_A_USERS_VARIABLE = Span((17, 7), (18, 5))
# `doc/auth/tokens/fine_grained_access_tokens.md`: generally available in 19.2.
FINE_GRAINED_TOKENS = Span((19, 2))
# "Allow Git push requests to the repository" is generally available: `ci_job_token.md` of 18.4.
PUSH_BY_JOB_TOKEN = Span((18, 4))
# GitLab's issue 595420 and `execute_merge` in `lib/api/merge_requests.rb`: the `sha` is checked
# first, and `auto_merge` of a request without a pipeline merges at once.
MERGE_WITHOUT_PIPELINE = Span((18, 9))
# GitLab's MR 259312: to an auto-merge of a request that is `preparing`; before, 405.
UNPREPARED_IS_UNPROCESSABLE = Span((19, 4))

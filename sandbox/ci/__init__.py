"""GitLab CI for the sandbox: from a commit's `.gitlab-ci.yml` to jobs that run.

It covers what the project's examples and tests use; what it does not do makes the pipeline
invalid, with a text that names the keyword.
"""

from sandbox.ci.create import create_pipeline, reasons_against
from sandbox.ci.errors import PipelineRefused
from sandbox.ci.scheduler import Scheduler

__all__ = ["PipelineRefused", "Scheduler", "create_pipeline", "reasons_against"]

from __future__ import annotations

from sandbox.testing import api, executor, gitlab, project, token

__all__ = ["api", "executor", "gitlab", "project", "token"]

"""The REST API, v4: a module for each resource, over one table of routes."""

from sandbox.api import (
    branches,
    commits,
    instance,
    job_token_scope,
    jobs,
    members,
    pipelines,
    projects,
    protected_refs,
    releases,
    tags,
    triggers,
)
from sandbox.web import Router

ROUTER = Router(
    [
        route
        for module in (
            instance,
            projects,
            members,
            protected_refs,
            job_token_scope,
            tags,
            branches,
            commits,
            releases,
            pipelines,
            triggers,
            jobs,
        )
        for route in module.routes.table
    ]
)

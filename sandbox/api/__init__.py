"""The REST API, v4: a module for each resource, over one table of routes."""

from sandbox.api import (
    archive,
    branches,
    commits,
    files,
    instance,
    job_artifacts,
    job_token_scope,
    jobs,
    members,
    merge_requests,
    pipelines,
    projects,
    protected_refs,
    releases,
    tags,
    tree,
    triggers,
    users,
)
from sandbox.routes import Router

ROUTER = Router(
    [
        route
        for module in (
            instance,
            users,
            projects,
            members,
            protected_refs,
            job_token_scope,
            tags,
            branches,
            commits,
            tree,
            files,
            archive,
            merge_requests,
            releases,
            pipelines,
            triggers,
            job_artifacts,
            jobs,
        )
        for route in module.routes.table
    ]
)

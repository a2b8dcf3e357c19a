"""The REST API, v4: a module for each resource, over one table of routes."""

from sandbox.api import (
    branches,
    commits,
    instance,
    jobs,
    pipelines,
    projects,
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

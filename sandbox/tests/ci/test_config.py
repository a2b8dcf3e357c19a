from __future__ import annotations

from textwrap import dedent
from typing import TYPE_CHECKING

import pytest
import yaml

from sandbox.ci.config import read_plan
from sandbox.ci.errors import ConfigError
from sandbox.ci.keywords import duration
from sandbox.ci.plan import Artifacts, Environment, Image, Include, Need, Policy, Retry, Trigger

if TYPE_CHECKING:
    from sandbox.ci.plan import JobPlan, Plan


def read(text: str) -> Plan:
    return read_plan(yaml.safe_load(dedent(text)))


def read_job(text: str) -> JobPlan:
    [job] = read(f"job:\n{dedent(text)}" if text.startswith(" ") else f"job: {text}").jobs
    return job


@pytest.mark.parametrize(
    ("keywords", "field", "expected"),
    [
        ("script: [a, [b, [c]]]", "script", ("a", "b", "c")),
        ("script: a", "stage", "test"),
        ("script: a, before_script: [b]", "script", ("b", "a")),
        ("script: a, after_script: [b]", "after_script", ("b",)),
        ("script: a, when: manual", "when", "manual"),
        ("script: a, when: delayed, start_in: 30 minutes", "start_in", 1800),
        ("script: a, allow_failure: true", "allow_failure", True),
        ("script: a, allow_failure: {exit_codes: [3, 4]}", "allowed_exit_codes", {3, 4}),
        ("script: a, image: alpine", "image", Image("alpine")),
        ("script: a, image: {name: x, entrypoint: ['']}", "image", Image("x", ("",))),
        ("script: a, needs: []", "needs", ()),
        ("script: a, needs: [{job: z, optional: true}]", "needs", (Need("z", optional=True),)),
        ("script: a, only: [main, tags]", "only", Policy(("main", "tags"))),
        ("script: a, except: {refs: [main]}", "exclude", Policy(("main",))),
        ("script: a, retry: 2", "retry", Retry(2)),
        ("script: a, retry: {max: 1, when: [always]}", "retry", Retry(1, ("always",))),
        ("script: a, timeout: 1h 30m", "timeout", 5400),
        (
            "script: a, environment: {name: prod, url: x}",
            "environment",
            Environment("prod", "x"),
        ),
        ("script: a, resource_group: prod", "resource_group", "prod"),
        ("script: a, tags: [x], services: [y]", "ignored", ("services", "tags")),
        (
            "script: a, artifacts: {paths: [x], reports: {dotenv: b.env}}",
            "artifacts",
            Artifacts(paths=("x",), dotenv=("b.env",)),
        ),
        ("trigger: group/name", "trigger", Trigger(project="group/name")),
        (
            "trigger: {include: a.yml, strategy: depend}",
            "trigger",
            Trigger(include=(Include(local="a.yml"),), strategy="depend"),
        ),
        (
            "trigger: {project: a/b, forward: {pipeline_variables: true}}",
            "trigger",
            Trigger(project="a/b", pipeline_variables=True),
        ),
    ],
)
def test_a_keyword_becomes_a_field(keywords: str, field: str, expected: object) -> None:
    assert getattr(read_job(f"{{{keywords}}}"), field) == expected


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("variables: {A: b}", "jobs config should contain at least one visible job"),
        (".hidden: {script: a}", "at least one visible job"),
        ("job: {stage: test}", "jobs:job config should implement the script: or trigger: keyword"),
        ("job: {script: a, secrets: {}}", "do not support|does not support: secrets"),
        ("job: {script: a, id_tokens: {}}", "does not support: id_tokens"),
        ("job: {script: {a: b}}", "jobs:job:script config should be a string or a nested array"),
        ("job: {script: a, stage: nowhere}", "chosen stage nowhere does not exist; available"),
        ("job: {script: a, when: never mind}", "jobs:job:when config should be one of"),
        ("job: {script: a, when: delayed}", "jobs:job:start_in config should be a duration"),
        ("job: {script: a, timeout: soon}", "jobs:job:timeout config should be a duration"),
        ("job: {script: a, retry: 3}", "jobs:job:retry:max config should be between 0 and 2"),
        ("job: {script: a, needs: [b]}", "job job: undefined need: b"),
        ("job: {script: a, dependencies: [b]}", "job job: undefined dependency: b"),
        ("job: {script: a, rules: [], only: [main]}", "may not be used with `rules`: only"),
        ("job: {script: a, rules: [{if: $A ==}]}", "invalid expression syntax"),
        ("job: {script: a, artifacts: {reports: {sast: x}}}", "does not support: sast"),
        ("job: {trigger: a/b, image: x}", "jobs:job config contains unknown keys.*: image"),
        ("job: {trigger: {strategy: depend}}", "should be a project or an include"),
        ("job: {script: a, needs: [job]}", "circular dependencies"),
        (
            "{stages: [a, b], j: {stage: a, script: x, needs: [k]}, k: {stage: b, script: x}}",
            "need k is not defined in current or prior stages",
        ),
        ("{default: {script: a}, job: {script: a}}", "default config contains unknown keys"),
        ("{job: {script: a}, workflow: {auto_cancel: {}}}", "does not support: auto_cancel"),
    ],
)
def test_an_error_names_a_wrong_or_unsupported_keyword(config: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(config)


def test_jobs_inherit_defaults_and_global_variables() -> None:
    plan = read(
        """
        default: {image: a, before_script: [b]}
        variables: {X: global, Y: global}
        one: {script: c, variables: {Y: own}}
        two: {script: c, image: d, inherit: {default: false, variables: [X]}}
        three: {trigger: g/p}
        """
    )
    one, two, three = plan.jobs
    assert (one.image, one.script) == (Image("a"), ("b", "c"))
    assert {v.key: v.value for v in one.variables} == {"X": "global", "Y": "own"}
    assert (two.image, two.script, [v.key for v in two.variables]) == (Image("d"), ("c",), ["X"])
    assert three.image is None


def test_parallel_makes_numbered_jobs() -> None:
    plan = read("test: {script: a, parallel: 2}")
    assert [job.name for job in plan.jobs] == ["test 1/2", "test 2/2"]
    assert {v.key: v.value for v in plan.jobs[1].variables} == {
        "CI_NODE_INDEX": "2",
        "CI_NODE_TOTAL": "2",
    }


def test_parallel_matrix_makes_a_job_per_combination() -> None:
    plan = read("test: {script: a, parallel: {matrix: [{OS: [x, y], V: 1}, {OS: z}]}}")
    assert [job.name for job in plan.jobs] == ["test: [x, 1]", "test: [y, 1]", "test: [z]"]
    assert plan.jobs[0].base == "test"


def test_variables_can_be_numbers_booleans_and_raw() -> None:
    plan = read("{variables: {A: 1, B: true, C: {value: $X, expand: false}}, j: {script: a}}")
    assert [(v.key, v.value, v.raw) for v in plan.variables] == [
        ("A", "1", False),
        ("B", "true", False),
        ("C", "$X", True),
    ]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90 seconds", 90),
        ("1h 30m", 5400),
        ("2 hours and 5 minutes", 7500),
        ("1 day", 86400),
    ],
)
def test_durations_are_parsed(text: str, seconds: float) -> None:
    assert duration(text, "timeout") == seconds

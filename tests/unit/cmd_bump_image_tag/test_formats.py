"""Where images stand: each format's places, and what only looks like one."""

from collections.abc import Callable
from textwrap import dedent

import pytest

from cmd_bump_image_tag.plan import Plan
from tests.unit.cmd_bump_image_tag.conftest import texts

IMAGES = {
    "pod": """
        apiVersion: v1
        kind: Pod
        metadata: {name: web, labels: {image: "web:1.0"}}
        spec:
          initContainers: [{name: a, image: 'web:⟦1.0→2.0⟧'}]
          containers:
            - name: b
              image: docker.io/library/web:⟦1.0→2.0⟧
              args: ["--image=web:1.0"]
              command: [run, "web:1.0"]
              env:
                - {name: IMAGE, value: "web:1.0", image: "web:1.0"}
            - image: web-admin:1.0
            - image: x.io/web:1.0
            - image: web⟦→:2.0⟧
          ephemeralContainers:
            - image: "web:⟦1.0→2.0⟧"
          volumes:
            - name: files
              image:
                reference: web:⟦1.0→2.0⟧
                pullPolicy: Always
    """,
    "list": """
        apiVersion: v1
        kind: List
        items:
          - {apiVersion: v1, kind: Pod, spec: {containers: [{image: "web:⟦1.0→2.0⟧"}]}}
          - {apiVersion: v1, kind: ConfigMap, data: {image: "web:1.0"}}
          - {apiVersion: v1, kind: Secret, stringData: {image: "web:1.0"}}
    """,
    "custom resource": """
        apiVersion: example.org/v1
        kind: Database
        spec:
          image: web:⟦1.0→2.0⟧
          imageName: web:⟦1.0→2.0⟧
          sidecarImage: web:⟦1.0→2.0⟧
          proxy: {image: {repository: web, tag: ⟦v1→"2.0"⟧}}
        status:
          image: web:1.0
    """,
    "Tekton": """
        apiVersion: tekton.dev/v1
        kind: Task
        spec:
          params: [{name: image, default: "web:1.0"}]
          stepTemplate: {image: 'web:⟦1.0→2.0⟧'}
          steps:
            - image: web:⟦1.0→2.0⟧
              script: |
                image: web:1.0
          sidecars: [{image: 'web:⟦1.0→2.0⟧'}]
    """,
    "Argo workflow": """
        apiVersion: argoproj.io/v1alpha1
        kind: WorkflowTemplate
        spec:
          templates:
            - container: {image: 'web:⟦1.0→2.0⟧'}
            - script:
                image: web:⟦1.0→2.0⟧
                source: "image: web:1.0"
    """,
    "Argo CD": """
        apiVersion: argoproj.io/v1alpha1
        kind: Application
        spec:
          source:
            kustomize:
              images:
                - web:⟦1.0→2.0⟧
                - old=web:⟦1.0→2.0⟧
                - web=x.io/web:1.0
            helm:
              values: |
                image: web:1.0
              valuesObject: {image: {repository: web, tag: '⟦1.0→2.0⟧'}}
    """,
    "custom resource definition": """
        apiVersion: apiextensions.k8s.io/v1
        kind: CustomResourceDefinition
        spec:
          default: {image: "web:1.0"}
          example: {apiVersion: v1, kind: Pod, spec: {image: "web:1.0"}}
    """,
    "Flux image repository": """
        apiVersion: image.toolkit.fluxcd.io/v1
        kind: ImageRepository
        spec: {image: web}
    """,
    "Kustomization": """
        kind: Kustomization
        images:
          - name: web
            newTag: ⟦v1→"2.0"⟧
          - {name: base, newName: web, newTag: '⟦1→2.0⟧'}
          - {name: web, newName: x.io/web, newTag: '1'}
          - {name: other, newTag: '1'}
        commonLabels: {image: "web:1.0"}
        helmCharts:
          - valuesInline: {image: {repository: web, tag: '⟦1.0→2.0⟧'}}
    """,
    "Kustomize transformer": """
        apiVersion: builtin
        kind: ImageTagTransformer
        imageTag: {name: web, newTag: '⟦1.0→2.0⟧'}
    """,
    "somebody else's Component": """
        apiVersion: example.org/v1
        kind: Component
        spec: {image: 'web:⟦1.0→2.0⟧'}
    """,
    "Flux Kustomization": """
        apiVersion: kustomize.toolkit.fluxcd.io/v1
        kind: Kustomization
        spec: {images: [{name: web, newTag: '⟦1.0→2.0⟧'}]}
    """,
    "HelmRelease": """
        apiVersion: helm.toolkit.fluxcd.io/v2
        kind: HelmRelease
        spec:
          chart: {spec: {chart: web, version: 1.0}}
          values:
            image: {repository: docker.io/library/web, tag: '⟦1.0→2.0⟧'}
            podAnnotations: {image: "web:1.0"}
    """,
    "Helm values": """
        image:
          registry: docker.io
          repository: library/web
          tag: ⟦1.0→"2.0"⟧
        sidecar: {image: {name: web, tag: "⟦1.0→2.0⟧", pullPolicy: Always}}
        flat: {image: web, tag: '⟦1.0→2.0⟧'}
        flatter: {imageRepository: web, imageTag: '⟦1.0→2.0⟧'}
        job: {image: "web:⟦1.0→2.0⟧"}
        pod: {podLabels: {image: "web:1.0"}, extraEnv: {image: "web:1.0"}}
        list:
          - {name: web, tag: "1.0"}
        other: {image: {registry: x.io, repository: web, tag: "1.0"}}
        unset: {image: {registry: "", repository: web, tag: ⟦null→"2.0"⟧}}
        absent: {image: {registry: ~, repository: web, tag: ⟦""→"2.0"⟧}}
    """,
    "Compose file": """
        x-web: &web
          image: web:⟦1.0→2.0⟧
        services:
          web: {<<: *web, labels: {image: "web:1.0"}}
          short: {image: web⟦→:2.0⟧}
          built:
            build: {args: {image: "web:1.0"}}
            environment: {image: "web:1.0"}
    """,
    "GitLab pipeline": """
        stages: [test]
        variables: {image: "web:1.0"}
        default:
          image: web:⟦1.0→2.0⟧
        test:
          image: {name: "web:⟦1.0→2.0⟧", entrypoint: [""]}
          services:
            - web:⟦1.0→2.0⟧
            - name: web:⟦1.0→2.0⟧
              alias: web
            - !reference [.base, services]
          script: ["docker run web:1.0"]
        other:
          image: !reference [.base, image]
          services: !reference [web, services]
          script: [true]
    """,
}


@pytest.mark.parametrize("name", IMAGES)
def test_every_format_has_its_image_fields(name: str, check: Callable[..., Plan]) -> None:
    template = dedent(IMAGES[name]).lstrip()
    if "⟦" in template:
        check(template, "web=2.0")
    else:
        check(f"{template}---\nimage: web:⟦1→2.0⟧\n", "web=2.0")


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("base/kustomization.yaml", "images: [{name: web, newTag: '⟦1→2.0⟧'}]"),
        ("base/kustomization.yml", "images: [{name: web, newTag: '⟦1→2.0⟧'}]"),
        (".gitlab-ci.yml", "include: [x]\njob: {services: ['web:⟦1→2.0⟧']}"),
        ("ci/build.gitlab-ci.yml", "job: {services: ['web:⟦1→2.0⟧'], variables: {image: 'web:1'}}"),
        (".gitlab/ci/build.yml", "job: {services: ['web:⟦1→2.0⟧']}"),
        ("compose.prod.yaml", "x: {image: web⟦→:2.0⟧}"),
        ("docker-compose.yml", "x: {image: web⟦→:2.0⟧}"),
    ],
)
def test_some_formats_are_recognized_by_their_path(
    path: str, template: str, check: Callable[..., Plan]
) -> None:
    check(template, "web=2.0", path=path)


@pytest.mark.parametrize(
    "text",
    [
        "image: web:${TAG}",
        "image: web:${TAG:-1.0}",
        "image: web:${TAG:-${OTHER}}",
        "image: ${REGISTRY}/web:1.0",
        "image: $REGISTRY/web:$TAG",
        'image: "{{ registry }}/web:{{ tag }}"',
        "image: $[[ inputs.registry ]]/web:1.0",
        "image: web@${DIGEST}",
        "image: {repository: web, tag: '${TAG}'}",
        "image: {repository: '${REGISTRY}/web', tag: '1.0'}",
    ],
)
def test_a_value_that_is_filled_in_later_is_reported_and_not_changed(
    text: str, check: Callable[..., Plan]
) -> None:
    result = check(f"{text}\n---\nimage: web:⟦1→2⟧\n", "web=2")
    (warning,) = texts(result)
    assert "filled in later" in warning
    assert warning.startswith("app.yaml:1: ")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("values.yaml", "image: {repository: web}"),
        ("values.yaml", "spec: {image: web}"),
        ("values.yaml", "image: {name: web}"),
        ("kustomization.yaml", "images: [{newName: web, name: base}]"),
    ],
)
def test_an_image_without_a_tag_in_this_file_is_reported_and_not_changed(
    path: str, text: str, check: Callable[..., Plan]
) -> None:
    result = check(f"{text}\n---\nimage: {{repository: web, tag: ⟦v1→v2⟧}}\n", "web=v2", path=path)
    (warning,) = texts(result)
    assert "has no tag here" in warning


@pytest.mark.parametrize(
    ("text", "is_reported"),
    [
        ("image: web", True),
        ("webImage: web", True),
        ("image: {name: web}", True),
        ("image: {other: web}", False),
        ("web: {name: web}", False),
        ("baseimage: web", False),
        ("images: [web]", False),
        ("images: {a: web}", False),
    ],
)
def test_a_name_without_a_tag_is_reported_only_where_an_image_stands(
    text: str, check: Callable[..., Plan], *, is_reported: bool
) -> None:
    result = check(f"{text}\nz: {{image: web:⟦v1→v2⟧}}", "web=v2")
    assert len(texts(result)) == is_reported
    assert all("has no tag here" in each for each in texts(result))

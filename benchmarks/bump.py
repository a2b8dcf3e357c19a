"""How long a bump takes: many manifests with few hits, and one large file with many.

Run it with `python benchmarks/bump.py`. Each figure is the median of several processes, with
the time of a process that only imports the same code beside it.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NAME = "registry.example.com/shop/web"
ROUNDS = 9

START = "import cmd_bump_image_tag.plan, cmd_bump_image_tag.targets.files"
RUN = f"""
import sys
from pathlib import Path
from cmd_bump_image_tag.plan import plan_bump
from cmd_bump_image_tag.request import BumpRequest
from cmd_bump_image_tag.targets import Snapshot
from cmd_bump_image_tag.targets.files import find, read, replace
root = Path(sys.argv[1])
before = read(root, find(root, []).paths)
request = BumpRequest(image=("{NAME}",), tag=sys.argv[2])
result = plan_bump(Snapshot(before, frozenset(), {{}}), request)
replace(root, before, result.contents)
print(len(before), len(result.changes))
"""

MANIFEST = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: service-{number}
  labels: {{app.kubernetes.io/name: service-{number}, app.kubernetes.io/part-of: shop}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app.kubernetes.io/name: service-{number}}}}}
  template:
    metadata: {{labels: {{app.kubernetes.io/name: service-{number}}}}}
    spec:
      containers:
        - name: service
          image: {image}:1.0.0
          ports: [{{containerPort: 8080, name: http}}]
          readinessProbe: {{httpGet: {{path: /ready, port: http}}, periodSeconds: 5}}
          env:
"""
VARIABLE = '            - {{name: SETTING_{number}, value: "the value of setting {number}"}}\n'


def manifests(root: Path, count: int, hits: int) -> None:
    """Write manifests of about 2.5 kB, some of them with the image."""
    settings = "".join(VARIABLE.format(number=number) for number in range(27))
    for number in range(count):
        image = NAME if number % (count // hits) == 0 else f"registry.example.com/s/api-{number}"
        folder = root / f"team-{number % 40}"
        folder.mkdir(parents=True, exist_ok=True)
        text = MANIFEST.format(number=number, image=image) + settings
        (folder / f"service-{number}.yaml").write_text(text)


def large_file(root: Path, count: int) -> None:
    """Write one file of about 60 bytes an image."""
    root.mkdir()
    text = "".join(f"- name: n{number:05}\n  image: {NAME}:1.0.0\n" for number in range(count))
    (root / "images.yaml").write_text("images:\n" + text)


def median(code: str, root: Path) -> float:
    """Return the median seconds of a process that runs the code, each time to another tag."""
    times = []
    for number in range(ROUNDS):
        start = time.perf_counter()
        command = [sys.executable, "-c", code, str(root), f"1.0.{number + 1}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as name:
        many, large = Path(name, "many"), Path(name, "large")
        manifests(many, 2000, 20)
        large_file(large, 50_000)
        start = median(START, many)
        print(f"start                            {start * 1000:6.0f} ms")
        for label, root in (("2,000 manifests, 20 hits", many), ("one file, 50,000 hits", large)):
            size = sum(path.stat().st_size for path in root.rglob("*.yaml")) / 1e6
            took = median(RUN, root)
            print(
                f"{label:24} {size:4.1f} MB {took * 1000:6.0f} ms, "
                f"{(took - start) * 1000:5.0f} ms more than the start, {took / start:4.1f} times"
            )


if __name__ == "__main__":
    main()

"""
Builds the images and loads them onto the nodes.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import attrs

from cluster.commands import Failed, run
from eventsvc import __version__

ROOT: Final = Path(__file__).parent.parent

EVENTSVC: Final = "localhost/eventsvc"
REDIS: Final = "localhost/eventsvc-redis"
ROBOT: Final = "localhost/eventsvc-robot"
#: The tags of the chart.
TAG: Final = __version__
REDIS_TAG: Final = "2"

#: Seconds to wait for an answer of the docker daemon.
_PATIENCE: Final = 10.0


@attrs.frozen
class Images:
    """
    The images of a run.

    @ivar tag: of those of this repository; the upgrade is to C{tag}C{-next}.
    """

    tag: str = TAG
    redis_tag: str = REDIS_TAG

    @property
    def next_tag(self) -> str:
        """Return the tag of the upgrade."""
        return f"{self.tag}-next"

    @property
    def robot(self) -> str:
        """Return the image of the suites and of the load."""
        return f"{ROBOT}:{self.tag}"

    @property
    def values(self) -> Sequence[str]:
        """Return the values of the chart that select them."""
        return [f"image.tag={self.tag}", f"tests.image.tag={self.tag}", f"redis.image.tag={self.redis_tag}"]


def build(images: Images) -> Sequence[str]:
    """
    Build all images, and return their names.

    The variable C{BUILD_IMAGE} overrides the build command; default: that of
    docker or buildah.  C{BASE_IMAGE} and C{REDIS_BASE_IMAGE} are passed on.
    """
    command = shlex.split(os.environ.get("BUILD_IMAGE") or _builder())
    service = [*command, *_base("BASE_IMAGE"), "--file", str(ROOT / "containers/eventsvc/Dockerfile")]
    redis = [*command, *_base("REDIS_BASE_IMAGE")]
    robot = [*command, *_base("BASE_IMAGE"), "--file", str(ROOT / "containers/robot/Dockerfile")]
    names = [
        f"{EVENTSVC}:{images.tag}",
        f"{EVENTSVC}:{images.next_tag}",
        f"{REDIS}:{images.redis_tag}",
        images.robot,
    ]
    run(*service, "--tag", names[0], str(ROOT))
    run(*service, "--label", f"version={images.next_tag}", "--tag", names[1], str(ROOT))
    run(*redis, "--tag", names[2], str(ROOT / "containers/redis"))
    run(*robot, "--tag", names[3], str(ROOT))
    return names


def _builder() -> str:
    if _has_docker():
        return "docker build"
    if shutil.which("buildah"):
        return "buildah build"
    raise Failed(
        "Found neither docker with a running daemon nor buildah: "
        "set BUILD_IMAGE to a command that takes the arguments of `docker build`"
    )


def _has_docker() -> bool:
    """Return whether docker is installed and its daemon answers."""
    if not shutil.which("docker"):
        return False
    try:
        return subprocess.run(["docker", "info"], capture_output=True, timeout=_PATIENCE).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def _base(variable: str) -> Sequence[str]:
    image = os.environ.get(variable)
    return ["--build-arg", f"BASE_IMAGE={image}"] if image else []


def load(names: Sequence[str]) -> None:
    """
    Load images onto the nodes.

    The variable C{LOAD_IMAGE} overrides the command, which gets the names of the
    images; default: that of kind or minikube.
    """
    run(*shlex.split(os.environ.get("LOAD_IMAGE") or _loader()), *names)


def _loader() -> str:
    context = run("kubectl", "config", "current-context").strip()
    if context.startswith("kind-"):
        return f"kind load docker-image --name {shlex.quote(context.removeprefix('kind-'))}"
    if context == "minikube":
        return "minikube image load"
    raise Failed(
        f"The context {context!r} is neither of kind nor of minikube: "
        "set LOAD_IMAGE to a command that loads images, given by name, onto the nodes of the cluster"
    )

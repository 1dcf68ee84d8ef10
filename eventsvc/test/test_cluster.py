"""
The cluster test takes what it is told for what it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from cluster import images
from cluster.commands import Failed, Namespace, lines, run, wait_until
from cluster.evidence import Logs
from eventsvc import __version__
from eventsvc.test.rendering import CHART


def test_it_installs_the_images_of_the_chart() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert (values["image"]["repository"], __version__) == (images.EVENTSVC, images.TAG)
    assert (values["redis"]["image"]["repository"], values["redis"]["image"]["tag"]) == (images.REDIS, images.REDIS_TAG)


@pytest.mark.parametrize(
    ("context", "command"),
    [("kind-kind", "kind load docker-image --name kind"), ("minikube", "minikube image load")],
)
def test_it_knows_how_to_bring_images_to_kind_and_minikube(
    context: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "run", lambda *_: f"{context}\n")
    assert images._loader() == command


def test_elsewhere_it_asks_for_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "run", lambda *_: "production\n")
    with pytest.raises(Failed, match=r"'production' .* set LOAD_IMAGE"):
        images._loader()


def test_a_command_that_fails_is_named_with_its_reason() -> None:
    with pytest.raises(Failed, match="sh -c echo no >&2; exit 3 ended with 3: no"):
        run("sh", "-c", "echo no >&2; exit 3")


def test_what_does_not_come_is_named_with_the_last_reason() -> None:
    def never() -> bool:
        raise Failed("no such pod")

    with pytest.raises(Failed, match="not within 0 s: a pod: no such pod"):
        wait_until("a pod", never, 0)


def test_a_line_ends_where_the_output_ends_it_and_not_where_an_event_does() -> None:
    assert lines('{"description":"one \u2028 line"}\nanother\n') == ['{"description":"one \u2028 line"}', "another"]


def test_the_logs_of_all_pods_count_but_no_line_that_is_half_written(tmp_path: Path) -> None:
    line = '{"id":%d,"description":"a \u2028 b","message":"event"}'
    (tmp_path / "a.log").write_text(f'{{"message":"connected to Redis"}}\n{line % 1}\n{line % 2}\n{{"id":3,"mes')
    (tmp_path / "b.log").write_text(f"{line % 2}\n")
    logs: Any = Logs(Namespace("nowhere"), tmp_path)
    assert list(logs.handled()) == [1, 2, 2]

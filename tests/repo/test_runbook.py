"""
The commands of the runbook: what they name is what the chart installs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml  # type: ignore[import-untyped]

from tests.support.helm import CHART, KUBERNETES, ROOT, helm, picks, pods, render
from tools.docs import anchors, slugs

GUIDE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
RUNBOOK = GUIDE[GUIDE.index("\n## When you are woken\n") : GUIDE.index("\n## Health\n")]
#: Everything that the runbook may name: Redis with Sentinels, KEDA, and a Secret for tokens.
OBJECTS = render(
    {
        "redis.replicas": 3,
        "consumer.keda.enabled": True,
        "producer.tls.existingSecret": "event-certificate",
        "producer.tokens.existingSecret": "event-tokens",
    }
)


def _commands() -> Iterator[str]:
    """Yield the commands of the runbook, from lines of shell and from code in a line."""
    for block in re.findall(r"^```sh\n(.*?)^```$", RUNBOOK, re.M | re.S):
        yield from block.replace("\\\n", " ").splitlines()
    yield from re.findall(r"`([^`\n]+)`", RUNBOOK)


KUBECTL = sorted({command.strip() for command in _commands() if command.strip().startswith(("kubectl", "helm"))})


@pytest.mark.parametrize("command", [each for each in KUBECTL if each.startswith("kubectl") and "keda" not in each])
def test_a_command_names_what_the_chart_installs(command: str) -> None:
    names = {(each["kind"].lower(), each["metadata"]["name"]) for each in OBJECTS}
    for kind, name in re.findall(
        r"\b(deployment|statefulset|scaledobject|configmap|endpoints)[/ ]([a-z][\w-]+)", command
    ):
        assert ("service" if kind == "endpoints" else kind, name) in names
    for pod in re.findall(r"(?:pod|logs|exec)[ /]([a-z]+-[a-z]+-[\dN$][a-z]?)\b", command):
        assert re.fullmatch(r"redis-master-([0-2N]|\$n)", pod)
    for selector in re.findall(r"--selector ([\w./]+=[\w-]+)", command):
        label, _, value = selector.partition("=")
        assert [pod for pod in pods(OBJECTS) if picks({label: value}, pod["metadata"]["labels"])]
    containers = {container["name"] for pod in pods(OBJECTS) for container in pod["spec"]["containers"]}
    assert set(re.findall(r"--container (\w+)", command)) <= containers
    for claim in re.findall(r"data-redis-master-\w", command):
        assert re.fullmatch(r"data-redis-master-[0-2N]", claim)


@pytest.mark.parametrize("command", [each for each in KUBECTL if "--set " in each and "..." not in each])
def test_a_value_that_is_to_be_set_is_one_of_the_chart(command: str) -> None:
    options = [f"--set={value}" for value in re.findall(r"--set (\S+)", command)]
    done = helm("template", "demo", str(CHART), f"--kube-version={KUBERNETES}", *options)
    assert done.returncode == 0, done.stderr


def test_the_manifests_are_valid_and_as_the_chart_has_them() -> None:
    (block,) = re.findall(r"^```yaml\n(# volume.yaml.*?)^```$", RUNBOOK, re.M | re.S)
    claim, pod = yaml.safe_load_all(block)
    for each in (claim, pod):
        kubernetes_validate.validate(each, KUBERNETES, strict=True)
    (redis,) = [each for each in OBJECTS if each["kind"] == "StatefulSet"]
    (template,) = redis["spec"]["volumeClaimTemplates"]
    assert claim["metadata"]["name"] == f"{template['metadata']['name']}-{redis['metadata']['name']}-0"
    assert claim["spec"]["accessModes"] == template["spec"]["accessModes"]
    spec: Any = redis["spec"]["template"]["spec"]
    assert pod["spec"]["securityContext"] == spec["securityContext"]
    assert pod["spec"]["containers"][0]["image"] == spec["containers"][0]["image"]


def test_what_a_pod_of_redis_logs_is_what_its_scripts_say() -> None:
    scripts = "".join([file.read_text(encoding="utf-8") for file in (CHART / "files" / "redis").iterdir()])
    scripts = scripts.replace("\\\n", "")
    section = RUNBOOK[RUNBOOK.index("\n### Sentinels disagree\n") :]
    table = section[section.index("| a pod logs |") : section.index("- The Sentinels name different")]
    said = re.findall(r"^\| `([^`]+)`", table, re.M)
    assert len(said) == 4
    assert [words for words in said if words not in scripts] == []


def test_the_chart_names_sections_of_the_docs_that_there_are() -> None:
    """Words of the chart that refuse something, or comment a value, send their reader to a section."""
    files = [*(CHART / "templates").rglob("*"), CHART / "values.yaml"]
    text = "".join([file.read_text(encoding="utf-8") for file in files if file.is_file()]).replace('\\"', '"')
    text = re.sub(r"\n\s*#", "", text)
    named = re.findall(r'Follow "([^"]+)" in docs/([\w-]+\.md)', text)
    named += [(section, page) for page, section in re.findall(r'docs/([\w-]+\.md), "([^"]+)"', text)]
    assert len(named) >= 3
    assert [each for each in named if slugs([each[0]])[0] not in anchors(ROOT / "docs" / each[1])] == []

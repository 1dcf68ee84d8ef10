"""
Reads what a pod of the chart finds in its files.
"""

from __future__ import annotations

from tests.support.helm import Object


def files(pod: Object) -> dict[str, tuple[str, str]]:
    """Return the Secret and the key of each file that the first container of a pod finds."""
    volumes = {volume["name"]: volume.get("secret", {}) for volume in pod["spec"].get("volumes", [])}
    found = {}
    for mount in pod["spec"]["containers"][0].get("volumeMounts", []):
        secret = volumes[mount["name"]]
        for item in secret.get("items", []):
            found[f"{mount['mountPath']}/{item['path']}"] = (secret["secretName"], item["key"])
    return found

"""
Schemas of custom resources, as far as the chart uses them: strict, so that a
misspelt member is found without their operators.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

Schema = Mapping[str, Any]

_TEXT: Final = {"type": "string", "minLength": 1}
_TEXTS: Final = {"type": "object", "additionalProperties": {"type": "string"}}
_COUNT: Final = {"type": "integer", "minimum": 0}
_DURATION: Final = {"type": "string", "pattern": "^([0-9]+(ms|[smhdwy]))+$"}


def _object(required: Sequence[str] = (), **members: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "required": [*required], "properties": members}


def _list(items: Any) -> dict[str, Any]:
    return {"type": "array", "minItems": 1, "items": items}


def _resource(version: str, kind: str, spec: Schema) -> Schema:
    return _object(
        ("apiVersion", "kind", "metadata", "spec"),
        apiVersion={"const": version},
        kind={"const": kind},
        metadata=_object(("name", "labels"), name=_TEXT, labels=_TEXTS, annotations=_TEXTS),
        spec=spec,
    )


_RELABELING: Final = _object(("sourceLabels", "targetLabel"), sourceLabels=_list(_TEXT), targetLabel=_TEXT)

_ENDPOINT: Final = _object(("port", "path"), port=_TEXT, path=_TEXT, interval=_DURATION, relabelings=_list(_RELABELING))

_SEVERITY: Final = {"severity": {"enum": ["warning", "critical"]}}

#: An alert with all that whoever is woken needs.
_RULE: Final = _object(
    ("alert", "expr", "labels", "annotations"),
    alert=_TEXT,
    expr=_TEXT,
    labels=_TEXTS | {"required": ["severity", "namespace", "release"], "properties": _SEVERITY},
    annotations=_object(("summary", "description", "runbook_url"), summary=_TEXT, description=_TEXT, runbook_url=_TEXT),
    **{"for": _DURATION},
)

#: KEDA takes all members of a trigger's metadata as text.
_METRICS_API: Final = _object(
    ("url", "valueLocation", "targetValue"),
    url={"type": "string", "pattern": r"^http://[a-z0-9.-]+:[0-9]+/backlog\?stream=[^&]+$"},
    valueLocation=_TEXT,
    targetValue={"type": "string", "pattern": "^[1-9][0-9]*$"},
)

#: The fallback is for metrics of this type alone.
_TRIGGER: Final = _object(
    ("type", "name", "metricType", "metadata"),
    type={"const": "metrics-api"},
    name=_TEXT,
    metricType={"const": "AverageValue"},
    metadata=_METRICS_API,
)

_FALLBACK: Final = _object(
    ("failureThreshold", "replicas"),
    failureThreshold=_COUNT,
    replicas={"type": "integer", "minimum": 1},
    behavior={"enum": ["static", "currentReplicas", "currentReplicasIfHigher", "currentReplicasIfLower"]},
)

_PATH: Final = _object(
    ("type", "value"), type={"enum": ["Exact", "PathPrefix"]}, value={"type": "string", "pattern": "^/"}
)

_PORT: Final = {"type": "integer", "minimum": 1, "maximum": 65_535}

_HOST: Final = {"type": "string", "pattern": r"^(\*\.)?([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.|$))+$"}

_GATEWAY: Final = _object(
    ("name",), group=_TEXT, kind=_TEXT, name=_TEXT, namespace=_TEXT, sectionName=_TEXT, port=_PORT
)

_ROUTE: Final = _object(
    ("matches", "backendRefs"),
    matches=_list(_object(("path",), path=_PATH)),
    backendRefs=_list(_object(("name", "port"), name=_TEXT, port=_PORT)),
)

#: By their kinds.
SCHEMAS: Final[Mapping[str, Schema]] = {
    "ServiceMonitor": _resource(
        "monitoring.coreos.com/v1",
        "ServiceMonitor",
        _object(("selector", "endpoints"), selector=_object(matchLabels=_TEXTS), endpoints=_list(_ENDPOINT)),
    ),
    "PrometheusRule": _resource(
        "monitoring.coreos.com/v1",
        "PrometheusRule",
        _object(("groups",), groups=_list(_object(("name", "rules"), name=_TEXT, rules=_list(_RULE)))),
    ),
    "HTTPRoute": _resource(
        "gateway.networking.k8s.io/v1",
        "HTTPRoute",
        _object(("parentRefs", "rules"), parentRefs=_list(_GATEWAY), hostnames=_list(_HOST), rules=_list(_ROUTE)),
    ),
    "ScaledObject": _resource(
        "keda.sh/v1alpha1",
        "ScaledObject",
        _object(
            ("scaleTargetRef", "triggers"),
            scaleTargetRef=_object(("name",), name=_TEXT),
            pollingInterval=_COUNT,
            cooldownPeriod=_COUNT,
            fallback=_FALLBACK,
            minReplicaCount=_COUNT,
            maxReplicaCount=_COUNT,
            triggers=_list(_TRIGGER),
        ),
    ),
}

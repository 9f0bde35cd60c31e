"""Writes the schemas of KEDA's and the Prometheus operator's kinds from cloudcoil's models, by the tools' own Python.

A JSON object, by `apiVersion/kind`. The models pass over fields that they do not know, so the schemas are closed here.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from cloudcoil.models.keda.v1alpha1 import ScaledObject
from cloudcoil.models.prometheus_operator.v1 import PodMonitor, PrometheusRule

MODELS = {
    "keda.sh/v1alpha1/ScaledObject": ScaledObject,
    "monitoring.coreos.com/v1/PodMonitor": PodMonitor,
    "monitoring.coreos.com/v1/PrometheusRule": PrometheusRule,
}


def closed(schema: Any) -> Any:
    """The schema, with no field allowed in an object but those that it lists."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and "type" in schema:
        inner.setdefault("additionalProperties", False)
    return inner


if __name__ == "__main__":
    json.dump({name: closed(model.model_json_schema(by_alias=True)) for name, model in MODELS.items()}, sys.stdout)

"""The value of a metric of this process, for the status page: what it shows is what `/metrics` says."""

from __future__ import annotations

from prometheus_client import REGISTRY


def read(name: str, **labels: str) -> float:
    """The sum of a metric's samples over all labels but those given; 0 where there are none."""
    family = name.removesuffix("_total")
    return sum(
        sample.value
        for metric in REGISTRY.restricted_registry([name]).collect()
        if metric.name == family
        for sample in metric.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )

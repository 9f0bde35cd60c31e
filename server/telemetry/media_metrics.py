"""Metrics of images and videos that requests bring."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

ITEMS = Counter(
    "qwend_media_items",
    "Images and videos of requests, by kind, source (`url` or `data`) and outcome: `taken` or `failed`.",
    ["kind", "source", "outcome"],
)
BYTES = Counter("qwend_media_bytes", "Encoded bytes of images and videos, by kind and source.", ["kind", "source"])
SECONDS = Histogram(
    "qwend_media_seconds",
    "Seconds that an image or a video took from the request to its pixels, by kind and source.",
    ["kind", "source"],
    buckets=(0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)

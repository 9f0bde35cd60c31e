"""Deployments that the planner's tests share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from server.planning.deployment import Deployment
from server.planning.hardware import hardware
from server.planning.model_config import model_config

NAME, CONFIG = model_config("qwen3.5-397b-a17b")


def deployment(on: str = "8xH200", weights: Any = "fp8", tensor_parallel: int = 8, **more: Any) -> Deployment:
    return replace(Deployment(hardware(on), CONFIG, NAME, weights, tensor_parallel), **more)

"""The model hub: whether it can be reached where a start would ask it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from server.doctor.findings import Check, Finding

HUB = Check(
    "hub",
    "Weights",
    "where the model is a hub id: whether the hub answers within 3 seconds, and knows the model",
    warns="it does not answer, though everything is here: vLLM asks it at each start and waits",
    fails="it does not answer or does not know the model, and something is still to be downloaded",
)

# What vLLM fetches of a repository that has safetensors, beside them.
_FETCHED = (".safetensors", ".json", ".txt", ".jinja", ".model", ".py")


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of the hub's listing: bytes, and its SHA-256 or, for small files, git's blob id."""

    size: int
    digest: str


@dataclass(frozen=True, slots=True)
class HubFacts:
    """What the hub answered. `status` is its HTTP status, None where it gave none, with the reason in `trouble`."""

    endpoint: str = ""
    offline: bool = False
    status: int | None = None
    trouble: str = ""
    seconds: float = 0.0
    commit: str = ""
    files: Mapping[str, HubFile] = field(default_factory=dict)
    ahead: float | None = None

    @property
    def reached(self) -> bool:
        """Whether it answered with the model's files."""
        return self.status == 200


def check_hub(facts: HubFacts | None, model: str, *, complete: bool, local_commit: str = "") -> Finding | None:
    """The hub's line; `facts` is None, and so the line, where the model is no hub id."""
    if facts is None:
        return None
    if facts.offline:
        if complete:
            return HUB.ok("not asked: HF_HUB_OFFLINE is set, and everything is here")
        return HUB.fail(
            f"HF_HUB_OFFLINE is set, and {model} is not complete here", "unset it, or bring the files here before"
        )
    if facts.reached:
        told = f"{facts.endpoint} knows {model} ({facts.seconds:.1f} s)"
        if complete and local_commit and facts.commit and facts.commit != local_commit:
            told += f"; it has a newer revision, {facts.commit[:8]} (here {local_commit[:8]}): engine.revision pins one"
        return HUB.ok(told)
    if facts.status in (401, 403):
        # The hub also says 401 of repositories that do not exist.
        told, todo = f"{facts.endpoint} does not show {model}", "check the name; for a gated model set HF_TOKEN"
    elif facts.status == 404:
        told, todo = f"{facts.endpoint} does not know {model} at this revision", "check model.path and engine.revision"
    else:
        told = f"{facts.endpoint} cannot be reached: {facts.trouble}"
        todo = "set HTTPS_PROXY or HF_ENDPOINT if there is a way, or bring the weights here and give their folder"
    if complete:
        return HUB.warn(told, "set HF_HUB_OFFLINE=1 (profile: engine_environment), so that no start waits for it")
    return HUB.fail(told, todo)


def missing_bytes(facts: HubFacts | None, sizes: Mapping[str, int]) -> int | None:
    """Bytes still to be downloaded, by the hub's listing and the `sizes` of files here; None without a listing."""
    if facts is None or not facts.files:
        return None
    return sum(
        each.size
        for name, each in facts.files.items()
        if "/" not in name and name.endswith(_FETCHED) and sizes.get(name) != each.size
    )

"""The arrows of the design, read from the source: who may import whom, and who may import the engine's libraries."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "server"

ENGINE_LIBRARIES = {"vllm", "torch", "torchvision", "transformers", "tokenizers", "safetensors"}

# Room -> rooms that it may import. `generation` is the core: it imports no other room but telemetry, the leaf.
ARROWS = {
    "api": {"dialects", "generation", "admission", "store", "telemetry", "vitals"},
    "dialects": {"generation"},
    "generation": {"telemetry"},
    "admission": {"generation", "telemetry"},
    "vitals": {"admission", "generation", "telemetry"},
    "media": {"generation", "telemetry"},
    "engine": {"generation", "telemetry", "settings", "planning"},  # planning for the question and the answer alone
    "planning": {"settings"},
    "telemetry": set(),
    "reference": {"engine"},  # for torchvision_ops alone: training meets the same torchvision as serving does
    "doctor": {"engine", "admission", "settings"},  # of the engine only what imports no vllm: arguments, folders
    "store": {"generation", "store_settings", "telemetry"},  # of generation the errors alone
    "section": set(),
    "deployment_settings": {"section"},
    "admission_settings": {"section"},
    "front_settings": {"section"},
    "store_settings": {"section"},
    "health_settings": {"section"},
    "limit_settings": {"section"},
    "telemetry_settings": {"section"},
    "profile_files": set(),
    "engine_argument_names": set(),
    "settings": {
        "section",
        "deployment_settings",
        "admission_settings",
        "front_settings",
        "store_settings",
        "health_settings",
        "limit_settings",
        "telemetry_settings",
        "profile_files",
        "engine_argument_names",
    },
    "launch": {"settings"},
    "welcome": set(),
    "app": {
        "api",
        "dialects",
        "generation",
        "admission",
        "media",
        "engine",
        "telemetry",
        "settings",
        "admission_settings",
        "vitals",
    },
    "http_server": {"api", "front_settings", "settings"},
    "listening": {"front_settings"},
    "embedding_shape": set(),
    "preflight": {"doctor", "embedding_shape", "planning", "settings"},
    "supervised": set(),
    "supervisor": {
        "admission",
        "api",
        "app",
        "engine",
        "front_settings",
        "http_server",
        "listening",
        "settings",
        "supervised",
        "telemetry",
    },
    "daemon": {
        "api",
        "app",
        "admission",
        "engine",
        "front_settings",
        "generation",
        "http_server",
        "idle_memory",
        "listening",
        "preflight",
        "settings",
        "store",
        "supervised",
        "telemetry",
        "vitals",
        "welcome",
    },
    "idle_memory": set(),
    "cli": {
        "cli_doctor",
        "cli_keys",
        "cli_plan",
        "cli_profiles",
        "daemon",
        "engine",
        "launch",
        "settings",
        "supervised",
        "supervisor",
        "telemetry",
    },
    "entry": {"cli"},
    "cli_plan": {"cli_profiles", "engine", "planning"},
    "cli_doctor": {"cli_profiles", "doctor"},
    "cli_keys": {"admission", "cli_profiles"},
    "cli_profiles": {"engine", "launch", "profile_files", "settings"},
    "__init__": set(),
}

# The training code of the reference checkpoint may use what it trains with; nothing else there may.
TRAINING = {f"reference/{name}.py" for name in ("acceleration", "data", "model", "tokenizer", "train")}


def modules() -> list[Path]:
    return sorted(path for path in ROOT.rglob("*.py") if "_config" not in path.parts)


def imported(source: str) -> set[str]:
    """Dotted names of every import in `source`, in functions as well as at the top."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            names.add(node.module or "")
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "import_module":
            names.update(str(arg.value) for arg in node.args if isinstance(arg, ast.Constant))
    return names


def room_of(path: Path) -> str:
    relative = path.relative_to(ROOT)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def violations(path: Path, source: str) -> list[str]:
    """What in `source`, were it the file `path`, breaks the design."""
    room, relative = room_of(path), path.relative_to(ROOT).as_posix()
    found = []
    for name in sorted(imported(source)):
        top, *rest = name.split(".")
        if top in ENGINE_LIBRARIES and room != "engine" and relative not in TRAINING:
            found.append(f"{relative} imports {name}")
        if top == "server" and rest and rest[0] != room and rest[0] in ARROWS and rest[0] not in ARROWS[room]:
            found.append(f"{relative} imports {name}: {room} may not import {rest[0]}")
        if room == "store" and rest[:1] == ["generation"] and rest[1:2] != ["errors"]:
            found.append(f"{relative} imports {name}: of generation it may import the errors alone")
    return found


def test_every_room_has_its_arrows() -> None:
    assert {room_of(path) for path in modules()} <= set(ARROWS)


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_follow_the_arrows(path: Path) -> None:
    assert violations(path, path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("relative", "source"),
    [
        ("api/new.py", "import vllm"),
        ("api/new.py", "def f():\n    from torch import nn"),
        ("generation/new.py", "import transformers.models"),
        ("reference/evaluate.py", "import torch"),
        ("generation/new.py", "from server.engine.client import VllmEngine"),
        ("generation/new.py", "from server.dialects import chat_request"),
        ("engine/new.py", "from server.api.chat import router"),
        ("telemetry/new.py", "from server.generation.errors import EngineDied"),
        ("dialects/new.py", "import server.api.chat"),
        ("planning/new.py", "from server.engine.kv_layout import layouts"),
        ("planning/new.py", "import vllm"),
        ("store/new.py", "from server.dialects import parsing"),
        ("admission/new.py", "from server.store.records import Owner"),
        ("store/new.py", "from server.generation.pipeline import Pipeline"),
    ],
)
def test_a_breach_is_seen(relative: str, source: str) -> None:
    assert violations(ROOT / relative, source)


LOADTEST = ROOT.parent / "loadtest"


def ties(relative: str, source: str) -> list[str]:
    """What ties the load generator to the daemon. It measures any server, so only its simulator may know ours."""
    apart = not relative.startswith("simulation/")
    return [
        name
        for name in sorted(imported(source))
        if apart and (name.split(".")[0] in {"server", "tests", *ENGINE_LIBRARIES} or name.startswith("loadtest.simul"))
    ]


@pytest.mark.parametrize("path", sorted(LOADTEST.rglob("*.py")), ids=lambda path: path.relative_to(LOADTEST).as_posix())
def test_the_load_generator_knows_nothing_of_the_daemon(path: Path) -> None:
    assert ties(path.relative_to(LOADTEST).as_posix(), path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_daemon_knows_nothing_of_the_load_generator(path: Path) -> None:
    assert not [name for name in imported(path.read_text(encoding="utf-8")) if name.split(".")[0] == "loadtest"]


@pytest.mark.parametrize("line", ["import server.settings", "from loadtest.simulation import report", "import vllm"])
def test_a_tie_is_seen(line: str) -> None:
    assert ties("new.py", line)
    assert not ties("simulation/new.py", line)

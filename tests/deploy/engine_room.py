"""Podman as the container tests use it: images are built from the Dockerfile with nothing pulled from a registry.

The base image is made here from Debian's own packages, which is what the registry's `debian:bookworm-slim` is. Storage
is a folder of this checkout, so that nobody else's images are touched and layers are kept between runs.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
STORAGE = ROOT / ".container"
BASE = "localhost/debian:bookworm-slim"
PROGRAMS = ("podman", "runc", "mmdebstrap")
BUILD_SECONDS = 1500


def needed() -> None:
    """Fails, or skips where that was wished, if a program is missing or containers cannot be made here."""
    missing = [each for each in PROGRAMS if shutil.which(each) is None]
    if os.geteuid() != 0:
        missing.append("root")
    if missing:
        why = f"missing: {', '.join(missing)}; `make test-container` installs the programs where it can"
        if os.environ.get("QWEND_TEST_WITHOUT_PODMAN") == "1":
            pytest.skip(why)
        pytest.fail(why)


def podman(*arguments: str, seconds: float = 120, check: bool = True) -> subprocess.CompletedProcess[str]:
    command = ["podman", "--root", str(STORAGE / "root"), "--runroot", str(STORAGE / "run"), "--runtime", "runc"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False, timeout=seconds)
    if check:
        assert done.returncode == 0, f"podman {' '.join(arguments)}:\n{done.stdout}\n{done.stderr}"
    return done


def base() -> None:
    """Makes the base image, once."""
    if podman("image", "exists", BASE, check=False).returncode == 0:
        return
    with tempfile.TemporaryDirectory(prefix="qwend-base-") as folder:
        archive = f"{folder}/base.tar"
        subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase", "bookworm", archive], check=True, timeout=600)
        podman("import", "--quiet", archive, BASE, seconds=300)


def build(target: str, tag: str, *arguments: str, context: Path = ROOT) -> None:
    """Builds a target of the Dockerfile as `docker build` would."""
    with tempfile.TemporaryDirectory(prefix="qwend-build-") as folder:
        own = _own_pip(Path(folder))
        podman(
            "build",
            *("--quiet", "--format", "docker", "--network", "host", "--isolation", "chroot"),
            *("--target", target, "--tag", tag),
            *own,
            *arguments,
            str(context),
            seconds=BUILD_SECONDS,
        )


def run_options(port: int) -> list[str]:
    """A container that may do nothing: read-only root, no capability, no new privileges; only volumes are written."""
    files, processes = (resource.getrlimit(each)[1] for each in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC))
    return [
        *("--network", "host", "--read-only", "--read-only-tmpfs=false", "--tmpfs", "/tmp:rw,mode=1777"),
        *("--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--shm-size", "1g"),
        # Podman's defaults may be above what this machine allows, and its health checks need systemd's timers.
        *("--ulimit", f"nofile={_most(files)}", "--ulimit", f"nproc={_most(processes)}", "--no-healthcheck"),
        *("--env", f"QWEND_SERVER__PORT={port}", "--env", "QWEND_SERVER__HOST=127.0.0.1"),
    ]


def image(tag: str) -> dict[str, Any]:
    """What an image says of itself."""
    (found,) = json.loads(podman("image", "inspect", tag).stdout)
    return found


def _most(limit: int) -> str:
    number = 4096 if limit == resource.RLIM_INFINITY else min(limit, 20_000)
    return f"{number}:{number}"


def _own_pip(folder: Path) -> list[str]:
    """Options that let a build reach packages as this machine does: pip's configuration as the secret that the
    Dockerfile knows, and the files and folders that it names."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    found = dict(re.findall(r"^(?:global|install|:env:)\.([\w-]+)='(.*)'$", listed, re.MULTILINE))
    options: list[str] = []
    lines = ["[global]"]
    for name in ("index-url", "extra-index-url", "find-links", "trusted-host"):
        if name in found:
            lines.append(f"{name} = {found[name]}")
            for scheme, path in re.findall(r"(?:^|\s)(file://)?(/\S+)", found[name].replace("\\n", " ")):
                # The files that an index of folders names lie beside it.
                folder_of_packages = Path(path).parent if scheme else Path(path)
                if folder_of_packages.is_dir():
                    options += ["--volume", f"{folder_of_packages}:{folder_of_packages}:ro"]
    authorities = Path(found.get("cert", "/etc/ssl/certs/ca-certificates.crt"))
    if authorities.is_file():
        # Not at its own path: the build installs the package that writes there.
        options += ["--volume", f"{authorities}:/run/authorities.crt:ro"]
        lines.append("cert = /run/authorities.crt")
    file = folder / "pip.conf"
    file.write_text("\n".join(lines) + "\n")
    return [*options, "--secret", f"id=pip,src={file}"]

"""A pod's one container without a cluster: what the kubelet and the container runtime make of its template.

The process is number 1 of its own process, mount and network namespaces. Its root file system is empty but for what
Python and the daemon need, and read-only; volumes are mounted where the template says; user, group, capabilities and
privileges are the template's. What is not imitated: seccomp, cgroups, the image, image pulls, DNS and other pods.
Needs root, and util-linux and iproute2.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.kubernetes.manifests import ROOT, Document, container

ADDRESS = "10.1.2.3"
"""The pod's own address, beside the loopback one."""

_SYSTEM = ("/usr", "/sys")
_LINKS = ("bin", "sbin", "lib", "lib64")
_FILES = ("ld.so.cache", "nsswitch.conf", "localtime", "mime.types")


def possible() -> bool:
    """Whether this machine lets us make namespaces and mounts."""
    programs = ("unshare", "nsenter", "setpriv", "ip", "mount")
    if os.geteuid() != 0 or any(shutil.which(program) is None for program in programs):
        return False
    command = ["unshare", "--mount", "--net", "--pid", "--fork", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


class Volume:
    """A Secret or ConfigMap as the kubelet lays it out: files are links into a folder that is swapped as a whole."""

    def __init__(self, folder: Path, files: dict[str, str], mode: int, group: int) -> None:
        self.folder = folder
        self._mode, self._group, self._version = mode, group, 0
        folder.mkdir()
        self.write(files)
        for name in files:
            (folder / name).symlink_to(f"..data/{name}")

    def write(self, files: dict[str, str]) -> None:
        """Puts new content in the place of the old, at once."""
        self._version += 1
        version = self.folder / f"..{self._version}"
        version.mkdir()
        for name, text in files.items():
            (version / name).write_text(text, encoding="utf-8")
            (version / name).chmod(self._mode)
            os.chown(version / name, 0, self._group)
        link = self.folder / "..new"
        link.symlink_to(version.name)
        link.rename(self.folder / "..data")


class Pod:
    """Runs the container of `template`; `volumes` are those that are not emptyDirs, by name."""

    def __init__(self, template: Document, volumes: dict[str, Volume], entry_point: list[str]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="qwend-pod-")
        folder = Path(self._folder.name)
        script = folder / "pod.sh"
        script.write_text(_script(template, volumes, entry_point), encoding="utf-8")
        self._log = folder / "log"
        command = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "bash", str(script)]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        self._inside = self._child()

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def _child(self) -> int:
        """The container's process number 1, as this machine numbers it."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        for _ in range(100):
            if found := children.read_text().split():
                return int(found[0])
            time.sleep(0.05)
        raise AssertionError(self.log)

    def status_fields(self) -> dict[str, str]:
        """/proc/PID/status of process number 1."""
        lines = Path(f"/proc/{self._inside}/status").read_text().splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A command in the pod's network, as another container or the kubelet would reach it."""
        enter = ["nsenter", "--target", str(self._inside), "--net"]
        return subprocess.run([*enter, *command], capture_output=True, text=True, check=False, timeout=120)

    def get(self, address: str, path: str, *options: str) -> tuple[int, str]:
        """Status (0: nobody answered) and body."""
        done = self.run("curl", "-s", "-w", "\n%{http_code}", *options, f"http://{address}{path}")
        body, _, status = done.stdout.rpartition("\n")
        return int(status or 0), body

    def terminate(self) -> None:
        os.kill(self._inside, signal.SIGTERM)

    def wait(self, seconds: float) -> int:
        """The exit code of process number 1."""
        return self._process.wait(seconds)

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> None:
        if self.running:
            os.kill(self._inside, signal.SIGKILL)
            self._process.wait(20)
        self._folder.cleanup()


def _script(template: Document, volumes: dict[str, Volume], entry_point: list[str]) -> str:
    spec, runs = template["spec"], container(template)
    security = {**spec["securityContext"], **runs["securityContext"]}
    root = "/mnt"
    lines = [
        "set -euo pipefail",
        "mount --make-rprivate /",
        "ip link set lo up",
        f"ip address add {ADDRESS}/32 dev lo",
        f"mount -t tmpfs -o mode=755 tmpfs {root}",
        f"mkdir -p {root}/etc {root}/proc {root}/dev {root}/var/lib {root}/var/cache {root}/run",
        f"mount -t proc proc {root}/proc",
        f"mount --rbind /dev {root}/dev",
        f"mount --make-rslave {root}/dev",
        f"echo 'qwend:x:{security['runAsUser']}:{security['runAsGroup']}::/:/bin/false' > {root}/etc/passwd",
        f"echo 'qwend:x:{security['runAsGroup']}:' > {root}/etc/group",
        f"echo '127.0.0.1 localhost' > {root}/etc/hosts",
        *(f"cp -L /etc/{name} {root}/etc/ 2>/dev/null || true" for name in _FILES),
        f"cp -rL /etc/ssl {root}/etc/ 2>/dev/null || true",
        *(f"[ -L /{name} ] && cp -P /{name} {root}/ || true" for name in _LINKS),
    ]
    for mount in runs["volumeMounts"]:
        (volume,) = [each for each in spec["volumes"] if each["name"] == mount["name"]]
        lines += _mounted(root + mount["mountPath"], volume, volumes, security["fsGroup"], mount.get("readOnly", False))
    for path in dict.fromkeys([*_SYSTEM, sys.base_prefix, os.path.realpath(sys.prefix), str(ROOT)]):
        lines += _bound(path, root + path)
    if security["readOnlyRootFilesystem"]:
        lines.append(f"mount -o remount,ro,bind {root}")
    given = [f"{each['name']}={each['value']}" for each in runs["env"] if "value" in each]
    given += ["PATH=/usr/bin:/bin", f"PYTHONPATH={ROOT}", "PYTHONDONTWRITEBYTECODE=1"]
    command = ["chroot", root, "setpriv", *_privileges(security), "env", "-i", *given, *entry_point, *runs["args"]]
    lines += ["cd /", f"exec {shlex.join(command)}"]
    return "\n".join(lines) + "\n"


def _bound(source: str, target: str) -> list[str]:
    quoted, at = shlex.quote(source), shlex.quote(target)
    return [f"mkdir -p {at}", f"mount --rbind {quoted} {at}", f"mount -o remount,ro,bind {at}"]


def _mounted(target: str, volume: dict[str, Any], volumes: dict[str, Volume], group: int, read_only: bool) -> list[str]:
    lines = [f"mkdir -p {target}"]
    if "emptyDir" in volume:
        size = volume["emptyDir"]["sizeLimit"].removesuffix("i")
        return [*lines, f"mount -t tmpfs -o size={size},mode=2777,gid={group} tmpfs {target}"]
    lines.append(f"mount --bind {shlex.quote(str(volumes[volume['name']].folder))} {target}")
    return [*lines, f"mount -o remount,ro,bind {target}"] if read_only else lines


def _privileges(security: dict[str, Any]) -> list[str]:
    """setpriv's words for a security context."""
    flags = ["--reuid", str(security["runAsUser"]), "--regid", str(security["runAsGroup"])]
    flags += ["--groups", str(security["fsGroup"])]
    if not security["allowPrivilegeEscalation"]:
        flags.append("--no-new-privs")
    if "ALL" in security["capabilities"]["drop"]:
        flags += ["--bounding-set", "-all", "--inh-caps", "-all", "--ambient-caps", "-all"]
    return flags

"""The Pod Security Standard `restricted`, control by control, for pods that run on Linux.

The controls are those of https://kubernetes.io/docs/concepts/security/pod-security-standards/ for Kubernetes 1.37; a
field that a control does not name is not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected", "secret",
}  # fmt: skip
_SELINUX = {None, "", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
_SYSCTLS = {
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem",
}  # fmt: skip
_KINDS = ("containers", "initContainers", "ephemeralContainers")


def violations(template: dict[str, Any]) -> Iterator[str]:
    """What the standard refuses of a template of pods."""
    spec = template["spec"]
    pod = spec.get("securityContext", {})
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(field):
            yield field
    for volume in spec.get("volumes", []):
        if kinds := set(volume) - {"name"} - _VOLUMES:
            yield f"volume {volume['name']} is of the kind {', '.join(kinds)}"
    for sysctl in pod.get("sysctls", []):
        if sysctl["name"] not in _SYSCTLS:
            yield f"sysctl {sysctl['name']}"
    if any("apparmor" in name and value == "unconfined" for name, value in _annotations(template).items()):
        yield "AppArmor is off"
    for kind in _KINDS:
        for each in spec.get(kind, []):
            for violation in _of_container(each, pod):
                yield f"{each['name']}: {violation}"


def _annotations(template: dict[str, Any]) -> dict[str, str]:
    return template.get("metadata", {}).get("annotations") or {}


def _of_container(container: dict[str, Any], pod: dict[str, Any]) -> Iterator[str]:
    own = container.get("securityContext", {})

    def either(field: str) -> Any:
        """The container's, else the pod's."""
        return own.get(field, pod.get(field))

    if own.get("privileged"):
        yield "privileged"
    if own.get("procMount", "Default") != "Default":
        yield "procMount"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation"
    if either("runAsNonRoot") is not True:
        yield "runAsNonRoot"
    if either("runAsUser") == 0:
        yield "runAsUser"
    if (either("seccompProfile") or {}).get("type") not in ("RuntimeDefault", "Localhost"):
        yield "seccompProfile"
    if (either("appArmorProfile") or {}).get("type", "RuntimeDefault") not in ("RuntimeDefault", "Localhost"):
        yield "appArmorProfile"
    selinux = either("seLinuxOptions") or {}
    if selinux.get("type") not in _SELINUX or selinux.get("user") or selinux.get("role"):
        yield "seLinuxOptions"
    if (either("windowsOptions") or {}).get("hostProcess"):
        yield "hostProcess"
    capabilities = own.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", []):
        yield "capabilities are not dropped"
    if set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
        yield "capabilities are added"
    if any(port.get("hostPort") for port in container.get("ports", [])):
        yield "hostPort"
    hooks = [container.get("lifecycle", {}).get(name, {}) for name in ("preStop", "postStart")]
    probes = [container.get(f"{name}Probe", {}) for name in ("startup", "liveness", "readiness")]
    if any(action.get(how, {}).get("host") for action in (*hooks, *probes) for how in ("httpGet", "tcpSocket")):
        yield "a probe or hook names a host"

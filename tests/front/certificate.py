"""Certificates for tests, made when they are needed, so that no key lies about."""

from __future__ import annotations

import subprocess
from pathlib import Path


def write_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A chain for 127.0.0.1 that signs itself, of that common name, and its key; written over what was there."""
    chain, key = folder / "chain.pem", folder / "key.pem"
    command = [
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-days", "1", "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"),
        *("-keyout", str(key), "-out", str(chain)),
    ]
    subprocess.run(command, check=True, capture_output=True)
    return chain, key

"""Puts the registry's digest behind each image's tag in the Dockerfile and in deploy/compose.yaml.

python scripts/pin_images.py [--check]

Run it where registries are reached; it asks skopeo, or docker with buildx where there is none. What is pinned already
gets the digest that its tag has now. `--check` changes nothing and exits with 1 if an image is not pinned.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES = (ROOT / "Dockerfile", ROOT / "deploy" / "compose.yaml")
# A base of the Dockerfile, or a service's image; ours are built from here and have no digest before.
IMAGE = re.compile(
    r"^(?P<before>ARG \w+_BASE=|\s+image: )(?P<tag>docker\.io/[\w./-]+:[\w.-]+)(?P<digest>@sha256:[0-9a-f]{64})?$",
    re.MULTILINE,
)


def digest(tag: str) -> str:
    """The digest of what the registry has under a tag: of the list of all platforms where there is one."""
    if shutil.which("skopeo"):
        command = ["skopeo", "inspect", "--raw", f"docker://{tag}"]
    elif shutil.which("docker"):
        command = ["docker", "buildx", "imagetools", "inspect", "--raw", tag]
    else:
        raise SystemExit("skopeo or docker with buildx is needed")
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode != 0 or not done.stdout:
        raise SystemExit(f"{' '.join(command)}: {done.stderr.decode(errors='replace').strip()}")
    return hashlib.sha256(done.stdout).hexdigest()


def main() -> int:
    check = "--check" in sys.argv[1:]
    loose = 0
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        for found in IMAGE.finditer(text):
            if check:
                loose += found["digest"] is None
                print(f"{path.name}: {found['tag']} {found['digest'] or 'is not pinned'}")
        if not check:
            pinned = IMAGE.sub(lambda found: f"{found['before']}{found['tag']}@sha256:{digest(found['tag'])}", text)
            path.write_text(pinned, encoding="utf-8")
    return 1 if loose else 0


if __name__ == "__main__":
    sys.exit(main())

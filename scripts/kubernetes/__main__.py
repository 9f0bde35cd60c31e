"""Writes deploy/kubernetes anew, or an overlay for another profile beside it.

python -m scripts.kubernetes
python -m scripts.kubernetes --profile NAME_OR_FILE --name OVERLAY [--executor ray]
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

from scripts.kubernetes.render import TARGET, Overlay, render, render_overlay
from server.profile_files import ProfileError


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes deploy/kubernetes anew, or an overlay for another profile.")
    parser.add_argument("--profile", help="A profile's name, or a file that extends one; by default all that ship.")
    parser.add_argument("--name", help="The overlay's name.")
    parser.add_argument("--executor", default="mp", choices=("mp", "ray"))
    given = parser.parse_args()
    if (given.profile is None) != (given.name is None):
        parser.error("--profile and --name need each other")
    # The manifests are of the profiles, whatever this shell would change in them.
    for name in [name for name in os.environ if name.startswith(("QWEND_", "VLLM_"))]:
        del os.environ[name]
    if given.profile is None:
        for folder in ("base", "components", "overlays"):
            shutil.rmtree(TARGET / folder, ignore_errors=True)
        files = render()
    else:
        overlay = Overlay(given.name, given.profile, given.executor)
        try:
            files = render_overlay(overlay, overlay.figures())
        except (ProfileError, ValueError) as error:
            sys.exit(str(error))
        if overlay.is_file:
            files[Path("overlays") / given.name / "profile.yaml"] = Path(given.profile).read_text(encoding="utf-8")
    for path, text in files.items():
        target = TARGET / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    print(f"{len(files)} files in {TARGET.relative_to(TARGET.parents[1])}")


if __name__ == "__main__":
    main()

"""Writes deploy/kubernetes anew: python -m scripts.kubernetes."""

from __future__ import annotations

import os
import shutil

from scripts.kubernetes.render import TARGET, render


def main() -> None:
    # The manifests are of the profiles, whatever this shell would change in them.
    for name in [name for name in os.environ if name.startswith(("QWEND_", "VLLM_"))]:
        del os.environ[name]
    files = render()
    for folder in ("base", "components", "overlays"):
        shutil.rmtree(TARGET / folder, ignore_errors=True)
    for path, text in files.items():
        target = TARGET / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    print(f"{len(files)} files in {TARGET.relative_to(TARGET.parents[1])}")


if __name__ == "__main__":
    main()

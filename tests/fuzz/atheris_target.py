"""One target under atheris (libFuzzer); started by `tests.fuzz.run`.

python -m tests.fuzz.atheris_target TARGET [libFuzzer's options and corpus]
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["server", "PIL", "tests.fuzz.drawing"], enable_loader_override=False):
    from tests.fuzz.targets import TARGETS

if __name__ == "__main__":
    atheris.Setup([sys.argv[0], *sys.argv[2:]], TARGETS[sys.argv[1]])
    atheris.Fuzz()

"""Coverage-guided fuzzing of every target: how many inputs were run, what they reached, and what was found.

python -m tests.fuzz.run SECONDS [TARGET ...]

Corpora are kept in results/fuzz, so that the next run goes on from them; an input that fails is kept there too. Exits
with 1 if one was found.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.fuzz.targets import SEEDS, TARGETS

FOLDER = Path("results") / "fuzz"
# Of one input: what takes longer, or more memory, is a failure too.
INPUT_SECONDS, MEGABYTES = 5, 2048
LONGEST = 4096


def fuzz(target: str, seconds: int) -> tuple[int, int, int, list[Path]]:
    """Inputs run, edges of code reached, inputs kept since they reach new ones, and those that failed."""
    corpus, failed = FOLDER / target, FOLDER / "failed" / target
    for folder in (corpus, failed):
        folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS[target]):
        (corpus / f"seed-{number}").write_bytes(seed)
    before = set(failed.iterdir())
    command = [
        *(sys.executable, "-m", "tests.fuzz.atheris_target", target, str(corpus)),
        *(f"-max_total_time={seconds}", f"-timeout={INPUT_SECONDS}", f"-rss_limit_mb={MEGABYTES}"),
        *(f"-max_len={LONGEST}", "-print_final_stats=1", f"-artifact_prefix={failed}/"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + 300)
    found = sorted(set(failed.iterdir()) - before)
    runs = re.findall(r"stat::number_of_executed_units:\s*(\d+)", done.stderr)
    if not runs or (done.returncode and not found):
        raise RuntimeError(f"{target} did not run:\n{done.stderr[-3000:]}")
    if found:
        print(done.stderr[-4000:])
    edges = re.findall(r"cov: (\d+)", done.stderr)
    return int(runs[-1]), int(edges[-1]) if edges else 0, len(list(corpus.iterdir())), found


def main() -> int:
    """Fuzzes each target for that many seconds."""
    seconds, chosen = int(sys.argv[1]), sys.argv[2:] or list(TARGETS)
    total, failures = 0, 0
    print(f"{'target':20} {'inputs':>10} {'edges':>7} {'corpus':>7}  failures")
    for target in chosen:
        runs, edges, kept, found = fuzz(target, seconds)
        total += runs
        failures += len(found)
        print(f"{target:20} {runs:10,} {edges:7,} {kept:7,}  {', '.join(map(str, found)) or 'none'}", flush=True)
    print(f"{total:,} inputs in {len(chosen)} targets of {seconds} s each; {failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

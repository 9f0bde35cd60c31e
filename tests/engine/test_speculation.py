"""MTP speculation on the CPU, as far as vLLM 0.32 has it there: whatever is drafted, the answers are those without.

Two things of it do not work on a CPU, so neither is asked here: the prefix cache (its states are copied by a Triton
kernel) and `top_k` (the CPU's `expand` reads whole numbers as floats, and the engine dies). The daemon's warm-up draws
with `top_k`, so the engine is run here without the daemon.

The reference checkpoint has no MTP layer. One is made up: its last layer again, which reads the hidden state and not
the token, so that a few drafts are right and most are not.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from server.engine.arguments import model_path
from server.settings import EMBEDDED
from tests.engine.greedy import QUESTIONS

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(600)]

LAST = "model.language_model.layers.3."

# Without the prefix cache in both, so that they compute the same and only the drafts differ.
PLAIN = "extends: reference-cpu\nmodel: {path: %s}\nengine: {enable_prefix_caching: false, prefix_match_unit: null%s}\n"
DRAFTING = ", speculative_config: {method: mtp, num_speculative_tokens: 2}"


def with_mtp_layer(folder: Path) -> Path:
    """The reference checkpoint with an MTP layer added, in `folder`."""
    import torch
    from safetensors.torch import load_file, save_file

    made = folder / "checkpoint"
    shutil.copytree(model_path(EMBEDDED), made)
    config = json.loads((made / "config.json").read_text())
    config["text_config"]["mtp_num_hidden_layers"] = 1
    (made / "config.json").write_text(json.dumps(config))
    weights = load_file(made / "model.safetensors")
    size = config["text_config"]["hidden_size"]
    drafting = {
        f"mtp.layers.0.{name.removeprefix(LAST)}": value.clone()
        for name, value in weights.items()
        if name.startswith(LAST)
    }
    drafting["mtp.fc.weight"] = torch.cat([torch.zeros(size, size), torch.eye(size)], dim=1).to(torch.bfloat16)
    for norm in ("norm", "pre_fc_norm_hidden", "pre_fc_norm_embedding"):
        drafting[f"mtp.{norm}.weight"] = weights["model.language_model.norm.weight"].clone()
    save_file({**weights, **drafting}, made / "model.safetensors")
    return made


def run(profile: Path) -> dict[str, list[list[int]] | float]:
    """What tests/engine/speculating.py prints."""
    command = [sys.executable, "-m", "tests.engine.speculating", str(profile)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_speculation_changes_no_token(tmp_path: Path) -> None:
    checkpoint = with_mtp_layer(tmp_path)
    ran = []
    for number, drafts in enumerate(("", DRAFTING)):
        profile = tmp_path / f"{number}.yaml"
        profile.write_text(PLAIN % (checkpoint, drafts))
        ran.append(run(profile))
    plain, drafting = ran
    print(f"drafted {drafting['drafted']:.0f}, accepted {drafting['accepted']:.0f}")
    assert plain["drafted"] == 0
    assert drafting["drafted"] > 300
    assert 0 < drafting["accepted"] < drafting["drafted"], "drafts of both kinds were met"
    assert len(plain["tokens"]) == len(QUESTIONS)
    assert drafting["tokens"] == plain["tokens"]

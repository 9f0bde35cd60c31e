"""How long other streams stand still while something heavy is asked for, for qwend and vLLM's server side by side."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image
from tokenizers import Tokenizer

from server.engine.arguments import model_path
from server.settings import EMBEDDED
from tests.bench.frontend.load_client import Load, Result
from tests.bench.frontend.peers import Peer, Qwend
from tests.bench.frontend.side_by_side import MODEL, body

STREAMS, TIMES = 32, 10
QUIET_SECONDS = 8.0
# The family's; the reference checkpoint's own profile has an eighth of it.
CONTEXT = 262_144


def heavy() -> dict[str, Callable[[int], dict[str, Any]]]:
    """What is sent, by its name; each time it differs, so that nothing is remembered.

    All but the schema give a token a bias that does not exist, which both servers find out when they have rendered,
    tokenised and decoded everything: the engine does not compute them, since its own steps would get longer, and it is
    the front end that is looked at.
    """
    words = "alpha beta gamma delta epsilon zeta eta theta iota kappa "
    tokenizer = Tokenizer.from_file(str(Path(model_path(EMBEDDED)) / "tokenizer.json"))
    # Words that follow each other are fewer tokens than each by itself.
    long = words * (260_500 * 100 // len(tokenizer.encode(words * 100).ids))
    picture = io.BytesIO()
    # Noise, so that the file is as large as a photograph's.
    noise = np.random.default_rng(7).integers(0, 255, (4000, 4000, 3), dtype=np.uint8)
    Image.fromarray(noise).save(picture, "JPEG", quality=50)
    image = base64.b64encode(picture.getvalue()).decode()

    nowhere = {"logit_bias": {"999999": 1}}

    def chat(content: Any, **fields: Any) -> dict[str, Any]:
        return {"model": MODEL, "messages": [{"role": "user", "content": content}], "max_tokens": 1, **fields}

    def turns(number: int) -> dict[str, Any]:
        messages = [
            {"role": ("user", "assistant")[turn % 2], "content": f"Turn {turn} of {number}. {words * 2}"}
            for turn in range(499)
        ]
        return {"model": MODEL, "messages": messages, "max_tokens": 1, **nowhere}

    def schema(number: int) -> dict[str, Any]:
        properties = {
            f"field_{number}_{each}": {
                "type": "object",
                "properties": {f"p{inner}": {"enum": [f"v{k}" for k in range(8)]} for inner in range(8)},
                "required": [f"p{inner}" for inner in range(8)],
                "additionalProperties": False,
            }
            for each in range(60)
        }
        wanted = {"type": "object", "properties": properties, "required": list(properties)}
        form = {"type": "json_schema", "json_schema": {"name": "big", "schema": wanted}}
        return chat("Hello", response_format=form)

    return {
        "256K-token prompt": lambda number: chat(f"{number} {long}", **nowhere),
        "500 messages": turns,
        "16-megapixel image": lambda number: chat(
            [
                {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{image}"}},
                {"type": "text", "text": f"What is it? {number}"},
            ],
            **nowhere,
        ),
        "large JSON schema": schema,
        "20 MB body": lambda number: chat(f"{number} " + "x" * 20_000_000),
    }


class LettingIn(Qwend):
    """qwend without admission: what it refuses before it is rendered would cost nothing."""

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "QWEND_ADMISSION__ENABLED": "false"}


def stalls(kinds: list[Callable[[], Peer]], rounds: int) -> Iterator[dict[str, Any]]:
    """One row for each peer and input: the longest gap between two chunks of any of the live streams, A B A B."""
    for number in range(rounds):
        for kind in kinds:
            with kind() as peer:
                for row in stalls_of(peer):
                    yield {**row, "round": number}


def stalls_of(peer: Peer) -> Iterator[dict[str, Any]]:
    """The same of one peer that runs already."""
    for _ in range(4):
        peer.load(Load(0, STREAMS, STREAMS, body(16, streamed=True)))
    # More than once, since what a server does for the first time is no baseline.
    for name, make in {"nothing at first": None, "nothing": None, **heavy(), "nothing at last": None}.items():
        with httpx.Client(base_url=f"http://127.0.0.1:{peer.port}", timeout=300) as client:
            statuses: list[int] = []
            bodies = [] if make is None else [json.dumps(make(number)).encode() for number in range(TIMES)]
            send = partial(_send, client, bodies, statuses) if bodies else partial(time.sleep, QUIET_SECONDS)
            result = _beside(peer, send)
        yield {
            "peer": peer.name,
            "beside": name,
            "longest_gap_ms": result.itl["max"] * 1e3,
            "p99_gap_ms": result.itl["p99"] * 1e3,
            "statuses": {str(status): statuses.count(status) for status in sorted(set(statuses))},
            "failures": len(result.failures),
        }


def _send(client: httpx.Client, bodies: list[bytes], statuses: list[int]) -> None:
    for each in bodies:
        try:
            answer = client.post("/v1/chat/completions", content=each, headers={"content-type": "application/json"})
            statuses.append(answer.status_code)
        except httpx.TransportError:
            statuses.append(0)


def _beside(peer: Peer, send: Callable[[], None]) -> Result:
    """The live streams' result, over the time that `send` takes and a while before it."""
    load = Load(peer.port, STREAMS, STREAMS, body(1500, streamed=True), until_told=True)
    with subprocess.Popen(
        [sys.executable, "-m", "tests.bench.frontend.load_client"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdin.write(json.dumps(asdict(load)) + "\n")
        client.stdin.flush()
        time.sleep(2.5)
        sending = threading.Thread(target=send)
        sending.start()
        sending.join()
        time.sleep(1.0)
        client.stdin.close()
        return Result(**json.loads(client.stdout.read()))

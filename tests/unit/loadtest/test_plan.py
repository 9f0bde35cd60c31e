"""Requests are those that the scenario asks for, the same for the same seed."""

from __future__ import annotations

import base64
import json
import random
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loadtest import prompts, traces
from loadtest.plan import Setting, plan
from loadtest.prompts import Pace
from loadtest.record import Shot
from loadtest.scenario_schema import Scenario
from loadtest.strict import parsed


def scenario(seed: int = 1, duration: float = 60, **tenant: Any) -> Scenario:
    one = {"name": "a", "arrivals": {"process": "poisson", "rate": 10}, **tenant}
    return parsed(Scenario, {"name": "s", "duration": duration, "seed": seed, "tenants": [one]}, "s")


def planned(pace: Pace | None = None, keys: dict[str, str] | None = None, nonce: str = "", **tenant: Any) -> list[Shot]:
    return plan(scenario(**tenant), Setting("m", pace or Pace(), None, nonce, keys or {}))


def asked(shot: Shot) -> str:
    content = shot.body["messages"][-1]["content"]
    return content if isinstance(content, str) else content[0]["text"]


def test_the_seed_makes_the_plan() -> None:
    assert planned() == planned()
    assert [each.at for each in planned()] != [each.at for each in planned(seed=2)]
    assert len(planned()) == pytest.approx(600, rel=0.15)


def test_another_run_asks_as_much_in_other_words() -> None:
    length = {"distribution": "uniform", "least": 16, "most": 60}
    values = {"prompt": length, "shared_prefix": {"share": 0.5, "tokens": length}, "conversation": {"turns": 2}}
    one, two = (planned(nonce=nonce, **values) for nonce in "ab")
    assert [(each.at, each.body["max_tokens"]) for each in one] == [(each.at, each.body["max_tokens"]) for each in two]

    def said(shots: list[Shot]) -> list[str]:
        return [text["content"] for each in shots for text in each.body["messages"]] + [
            turn.text for each in shots for turn in each.turns
        ]

    assert [len(each.split()) for each in said(one)] == [len(each.split()) for each in said(two)]
    # Nor does a server find the first block of one in its cache, be it as small as 16 tokens.
    beginnings = [{" ".join(each.split()[:16]) for each in said(shots)} for shots in (one, two)]
    assert not beginnings[0] & beginnings[1]


def test_however_many_processes_the_requests_are_the_same() -> None:
    whole = plan(scenario(conversation={"turns": 3}), Setting("m"))
    parts = [plan(scenario(conversation={"turns": 3}), Setting("m"), worker=n, workers=3) for n in range(3)]
    assert sorted((each for part in parts for each in part), key=lambda each: each.number) == whole
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_request_needs_nothing_but_openais_fields() -> None:
    body = planned()[0].body
    assert set(body) == {"model", "messages", "max_tokens", "stream", "stream_options"}
    assert body["stream_options"] == {"include_usage": True}
    assert set(planned()[0].headers) == {"x-request-id"}


def test_prompts_are_as_long_as_the_server_counts_them() -> None:
    shots = planned(Pace(1.5, 20), prompt=320)
    assert {len(asked(each).split()) for each in shots} == {200}
    assert len({" ".join(asked(each).split()[:16]) for each in shots}) == len(shots), "no two begin alike"


def shares() -> list[tuple[dict[str, Any], Callable[[Shot], bool]]]:
    return [
        ({"tool_share": 0.3}, lambda shot: "tools" in shot.body),
        ({"image_share": 0.3}, lambda shot: isinstance(shot.body["messages"][-1]["content"], list)),
        ({"thinking_share": 0.3}, lambda shot: shot.body["chat_template_kwargs"]["enable_thinking"]),
        ({"cancels": {"share": 0.3, "after": 1}}, lambda shot: shot.cancel_after == 1),
        ({"shared_prefix": {"share": 0.3, "tokens": 50}}, lambda shot: shot.body["messages"][0]["role"] == "system"),
    ]


@pytest.mark.parametrize("number", range(5))
def test_shares_are_kept(number: int) -> None:
    values, has = shares()[number]
    shots = planned(**values)
    assert sum(map(has, shots)) / len(shots) == pytest.approx(0.3, abs=0.06)


def test_a_share_is_of_a_few_prefixes() -> None:
    shots = planned(shared_prefix={"share": 1, "tokens": 50, "prefixes": 3})
    said = {each.body["messages"][0]["content"] for each in shots}
    assert len(said) == 3
    assert all(len(each.split()) == 50 for each in said)


def test_conversations_have_their_turns() -> None:
    shots = planned(conversation={"turns": {"distribution": "choice", "values": [1, 4]}, "pause": 2, "grows": 30})
    assert {len(each.turns) for each in shots} == {0, 3}
    turn = next(each.turns[0] for each in shots if each.turns)
    assert (turn.pause, turn.max_tokens, len(turn.text.split())) == (2, 64, 30)


def test_keys_and_deadlines_are_in_headers() -> None:
    shot = planned(keys={"a": "key-of-a"}, deadline=2.5, deadline_header="x-request-timeout-ms")[0]
    assert shot.headers["authorization"] == "Bearer key-of-a"
    assert shot.headers["x-request-timeout-ms"] == "2500"
    assert shot.deadline == 2.5
    assert "key-of-a" not in json.dumps(shot.body)


def test_other_fields_win() -> None:
    body = planned(body={"max_tokens": 3, "ignore_eos": True}, service_tier="flex")[0].body
    assert (body["max_tokens"], body["ignore_eos"], body["service_tier"]) == (3, True, "flex")


def test_images_are_pngs() -> None:
    url = prompts.image(random.Random(1), 32)
    data = base64.b64decode(url.removeprefix("data:image/png;base64,"))
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    place, parts = 8, {}
    while place < len(data):
        size, kind = int.from_bytes(data[place : place + 4]), data[place + 4 : place + 8]
        content = data[place + 8 : place + 8 + size]
        assert int.from_bytes(data[place + 8 + size : place + 12 + size]) == zlib.crc32(kind + content)
        parts[kind], place = content, place + 12 + size
    assert list(parts) == [b"IHDR", b"IDAT", b"IEND"]
    assert len(zlib.decompress(parts[b"IDAT"])) == 32 * (1 + 3 * 32)
    assert prompts.image(random.Random(2), 32) != url


def test_an_azure_trace_is_replayed(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2023-11-16 18:15:46.6805900,374,44\n"
        "2023-11-16 18:15:50.6805900,100,0\n"
        "2023-11-16 18:25:50.6805900,100,5\n"
    )
    shots = planned(arrivals={"process": "trace", "format": "azure", "path": str(path), "speed": 2, "scale": 0.5})
    assert [each.at for each in shots] == [0, 2], "the third comes after the end"
    assert [each.body["max_tokens"] for each in shots] == [22, 1]
    assert [len(asked(each).split()) for each in shots] == [187, 50]


def test_a_mooncake_trace_shares_its_blocks(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    rows = [
        {"timestamp": 0, "input_length": 1100, "output_length": 9, "hash_ids": [0, 1, 2]},
        {"timestamp": 1500, "input_length": 1200, "output_length": 9, "hash_ids": [0, 1, 3]},
        {"timestamp": 3000, "input_length": 600, "output_length": 9, "hash_ids": [4, 5]},
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    shots = planned(arrivals={"process": "trace", "format": "mooncake", "path": str(path)})
    one, two, three = (asked(each).split() for each in shots)
    assert [each.at for each in shots] == [0, 1.5, 3]
    assert one[:1024] == two[:1024]
    assert one[1024:] != two[1024:1100]
    assert one[:512] != three[:512]
    again = planned(nonce="b", arrivals={"process": "trace", "format": "mooncake", "path": str(path)})
    assert one[:512] != asked(again[0]).split()[:512], "a server's cache does not know them from the run before"
    assert [len(each) for each in (one, two, three)] == [1100, 1200, 600]


def test_sharegpt_gives_questions_and_lengths(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    said = [{"from": "human", "value": "How?"}, {"from": "gpt", "value": "In this way."}]
    turned = [{"from": "gpt", "value": "Hm."}, {"from": "human", "value": "No."}]
    path.write_text(json.dumps([{"conversations": turned}, {"conversations": said}]))
    shots = planned(Pace(2.0, 5), sharegpt=str(path))
    assert {(asked(each), each.body["max_tokens"]) for each in shots} == {("How?", 6)}


@pytest.mark.parametrize(
    ("read", "text", "told"),
    [
        (traces.azure, "a,b\n1,2\n", "no column ContextTokens"),
        (traces.mooncake, '{"timestamp": 1}\n', "line 1"),
        (traces.mooncake, "x\n", "line 1"),
        (traces.sharegpt, '{"a": 1}', "no ShareGPT file"),
        (traces.sharegpt, "[]", "no conversation"),
        (traces.sharegpt, "x", "no ShareGPT file"),
    ],
)
def test_another_shape_is_told(read: Callable[[Path], Any], text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text(text)
    with pytest.raises(ValueError, match=told):
        list(read(path))


def test_the_samples_have_the_shapes() -> None:
    assert len(list(traces.azure(traces.SAMPLES / "azure.csv"))) == 200
    rows = list(traces.mooncake(traces.SAMPLES / "mooncake.jsonl"))
    assert len(rows) == 120
    assert all(len(each.blocks) == -(-each.prompt // traces.MOONCAKE_BLOCK) for each in rows)
    assert len(traces.sharegpt(traces.SAMPLES / "sharegpt.json")) == 16

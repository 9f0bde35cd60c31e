"""Videos from strangers, decoded in processes that may crash, hang or lie without anybody else noticing."""

from __future__ import annotations

import asyncio
import os
import struct
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from server.generation.conversation import VideoPart
from server.generation.errors import InvalidRequest, Unavailable
from server.generation.ports import DecodedVideo
from server.media import videos
from server.media.fetch import ByteBudget, Fetcher, FetchPolicy
from server.media.videos import VideoDecoder, VideoLimits
from tests.unit.media.loopback_server import loopback, ok
from tests.videos import BLUE, RED, encode, video_url

PARAM = "messages[0].content[0].video_url.url"
LIMITS = VideoLimits(
    max_bytes=1_000_000,
    max_seconds=60,
    max_frame_pixels=640 * 480,
    max_frames=16,
    pixels=2**20,
    seconds=10,
    memory_bytes=2**31,
)


def decoder(*, at_once: int = 2, **changes: Any) -> VideoDecoder:
    return VideoDecoder(replace(LIMITS, **changes), fps=2, at_once=at_once)


async def decode(url: str | bytes, part: dict[str, Any] | None = None, **changes: Any) -> DecodedVideo:
    decoding = decoder(**changes)
    try:
        return await decoding.decode(
            VideoPart(video_url(url) if isinstance(url, bytes) else url, PARAM, **part or {}), ByteBudget(10**6)
        )
    finally:
        decoding.close()


async def refusal(url: str | bytes, **changes: Any) -> str:
    with pytest.raises(InvalidRequest) as caught:
        await decode(url, **changes)
    assert (caught.value.param, caught.value.code) == (PARAM, "invalid_video")
    return caught.value.message


def colors(video: DecodedVideo) -> list[str]:
    """The strongest of red, green and blue in the middle of each frame."""
    size = 3 * video.height * video.width
    middles = [video.pixels[frame * size + size // 2 // 3 * 3 :][:3] for frame in range(video.frames)]
    return ["rgb"[max(range(3), key=lambda channel: middle[channel])] for middle in middles]


@pytest.mark.parametrize("form", ["mp4", "webm", "mkv", "avi", "gif"])
async def test_frames_come_in_their_order_and_colours(form: str) -> None:
    video = await decode(encode([RED] * 4 + [BLUE] * 4, form))
    assert (video.frames, video.height, video.width, video.total) == (8, 64, 64, 8)
    assert (video.fps, video.indices) == (pytest.approx(2), tuple(range(8)))
    assert colors(video) == ["r"] * 4 + ["b"] * 4


@pytest.mark.parametrize(
    ("part", "changes", "indices"),
    [
        ({}, {}, (0, 6, 13, 19)),  # 2 a second of 2 seconds
        ({"fps": 5}, {}, (0, 2, 4, 6, 8, 11, 13, 15, 17, 19)),
        ({"frames": 2}, {}, (0, 19)),
        ({"frames": 1}, {}, (0, 0)),  # the model looks at pairs
        ({"fps": 10}, {"max_frames": 3}, (0, 10, 19)),
        ({"fps": 0.1}, {}, (0, 6, 13, 19)),  # the model's processor takes no fewer than 4
        ({"fps": 60}, {"max_frames": 768}, tuple(range(20))),
    ],
)
async def test_sampling(part: dict[str, Any], changes: dict[str, Any], indices: tuple[int, ...]) -> None:
    video = await decode(encode([RED] * 20, fps=10), part, **changes)
    assert [abs(one - other) <= 1 for one, other in zip(video.indices, indices, strict=True)] == [True] * len(indices)


async def test_frames_are_made_smaller_until_all_together_fit() -> None:
    video = await decode(encode([RED] * 8, size=(640, 320)), pixels=8 * 128 * 64 + 100)
    assert (video.width, video.height) == (128, 64)


async def test_bounds_are_checked() -> None:
    long, large = encode([RED] * 40), encode([RED] * 4, size=(640, 640))
    assert "longer than 10 seconds" in await refusal(long, max_seconds=10)
    assert "more than 307200 pixels a frame" in await refusal(large)
    assert "larger than 100 bytes" in await refusal(long, max_bytes=100)
    assert "200 times" in await refusal(encode([RED] * 4, "gif", size=(1020, 4)))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"RIFF\0\0\0\0WAVEfmt ",
    ],
)
async def test_what_is_no_video_does_not_reach_the_decoder(body: bytes) -> None:
    """Playlists above all, which name other files and hosts."""
    assert "is not a video" in await refusal(body)


@pytest.mark.parametrize("body", [b"\0\0\0\x18ftypmp42" + bytes(1000), b"GIF89a" + bytes(100), encode([RED] * 8)[:300]])
async def test_broken_videos_are_refused(body: bytes) -> None:
    message = await refusal(body)
    assert "could not be decoded" in message or "has no pictures" in message


async def test_a_header_that_promises_too_many_frames_is_not_believed() -> None:
    whole = encode([RED] * 8, "avi")
    at = whole.index(b"avih") + 8 + 16
    assert struct.unpack_from("<I", whole, at) == (8,)
    lying = bytearray(whole)
    for place in (at, whole.index(b"strh") + 8 + 32):
        struct.pack_into("<I", lying, place, 100)
    video = await decode(bytes(lying))
    assert (video.total, video.indices[-1]) == (8, 7)


@pytest.mark.parametrize("url", ["http://example.com/a.mp4", "file:///etc/passwd", "data:video/mp4,x", "ready:1", ""])
async def test_only_data_urls_are_taken_without_a_fetcher(url: str) -> None:
    await refusal(url)


async def test_a_video_is_fetched_by_the_fetcher_of_images() -> None:
    async with loopback("127.0.0.2") as server:
        body = encode([BLUE] * 4)
        server.answers |= {"/a": ok(body, "video/mp4"), "/b": ok(body, "image/png"), "/c": ok(body * 500, "video/mp4")}
        policy = FetchPolicy(
            hosts=None,
            private_addresses=False,
            ports=[server.port],
            max_bytes=10,  # an image's
            seconds=5,
            redirects=0,
            at_once=1,
            max_video_bytes=100_000,
        )
        fetcher = Fetcher(policy, extra_addresses=["127.0.0.2"])
        decoding = VideoDecoder(LIMITS, fps=2, at_once=1, fetcher=fetcher)

        async def fetched(path: str) -> DecodedVideo:
            return await decoding.decode(VideoPart(f"http://127.0.0.2:{server.port}{path}", PARAM), ByteBudget(10**6))

        assert colors(await fetched("/a")) == ["b"] * 4
        for path, why in (("/b", "is not a video"), ("/c", "is larger than 100000 bytes")):
            with pytest.raises(InvalidRequest, match=why) as caught:
                await fetched(path)
            assert (caught.value.code, caught.value.param) == ("invalid_video_url", PARAM)
        await fetcher.close()


def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Puts a worker in place that does not what ours does."""
    path = tmp_path / "worker.py"
    path.write_text("import os, sys, time, json, signal\nsys.stdin.buffer.readline()\n" + code)
    monkeypatch.setattr(videos, "_WORKER", path)


@pytest.mark.parametrize(
    "code",
    [
        "os.kill(os.getpid(), signal.SIGSEGV)",
        "os._exit(0)",
        "sys.stdin.close(); os.kill(os.getpid(), signal.SIGABRT)",
        "sys.stdin.buffer.read(); os.write(1, b'x' * 100)",
        "sys.stdin.buffer.read()\nprint(json.dumps(dict(fps=1, total=9, indices=[0] * 9, height=9, width=9)))",
        "sys.stdin.buffer.read()\nprint(json.dumps(dict(fps=1, total=1, indices=[], height=9, width=9)))",
        "sys.stdin.buffer.read()\nprint('[')",
        "sys.stdin.buffer.read()\nprint('{}')",
        "sys.stdin.buffer.read()\nwhile True: os.write(1, bytes(2**16))",
    ],
)
async def test_a_worker_that_crashes_or_lies_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    worker(tmp_path, monkeypatch, code)
    assert "could not be decoded" in await refusal(encode([RED] * 4))


async def test_a_worker_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker(tmp_path, monkeypatch, "time.sleep(60)")
    monkeypatch.setattr(videos, "_START_SECONDS", 0.5)
    began = time.monotonic()
    assert "within 0.5 seconds" in await refusal(encode([RED] * 4), seconds=0.5)
    assert time.monotonic() - began < 5


async def test_who_leaves_ends_the_worker_and_who_waits_too_long_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = tmp_path / "pid"
    worker(tmp_path, monkeypatch, f"open({str(pid)!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)")
    decoding = decoder(at_once=1, seconds=1)
    part = VideoPart(video_url(encode([RED] * 4)), PARAM)
    first = asyncio.create_task(decoding.decode(part, ByteBudget(1)))
    while not pid.exists() or not pid.read_text():
        await asyncio.sleep(0.02)
    with pytest.raises(Unavailable):
        await decoding.decode(part, ByteBudget(1))
    first.cancel()
    await asyncio.wait([first])
    for _ in range(100):
        if not _runs(pid.read_text()):
            break
        await asyncio.sleep(0.02)
    else:
        raise AssertionError("the worker still runs")
    decoding.close()


def _runs(pid: str) -> bool:
    return Path("/proc", pid).exists()


async def test_the_worker_can_reach_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real worker with a decoder that tries to get out: no inherited descriptor, no new one, no environment."""
    monkeypatch.setenv("SECRET", "1")
    source = Path(videos.__file__).with_name("video_worker.py").read_text()
    probe = (
        "def _decode(cv2, video, order):\n"
        "    import socket\n"
        "    found = sorted(map(int, filter(str.isdigit, [str(n) for n in range(256) if _open_fd(n)])))\n"
        "    try:\n        socket.socket()\n        found.append('socket')\n    except OSError:\n        pass\n"
        "    try:\n        open('/etc/passwd')\n        found.append('file')\n    except OSError:\n        pass\n"
        "    raise Refused(f'saw {found} {sorted(os.environ)}')\n"
        "def _open_fd(n):\n"
        "    try:\n        os.fstat(n)\n        return True\n    except OSError:\n        return False\n"
    )
    path = tmp_path / "worker.py"
    path.write_text(
        source.replace("import cv2\n", "import cv2, socket\n").replace("\nif __name__", f"\n{probe}\nif __name__")
    )
    monkeypatch.setattr(videos, "_WORKER", path)
    held = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(held, True)
    try:
        message = await refusal(b"")
    finally:
        os.close(held)
    assert "saw [0, 1, 2] [" in message
    assert "SECRET" not in message
    assert "PYTHONPATH" not in message

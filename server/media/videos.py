"""From a video's bytes to frames, in a process of its own for each video, with an end to its memory and time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from server.generation.conversation import VideoPart
from server.generation.errors import Unavailable
from server.generation.ports import DecodedVideo
from server.media.fetch import ByteBudget, Fetcher
from server.media.sources import fetched, from_data_url, refused, source
from server.telemetry import media_metrics

_WORKER = Path(__file__).with_name("video_worker.py")

# Qwen's processor takes no fewer frames from a video that has them.
_FEWEST_FRAMES = 4

# What starting Python and importing the decoder may take beside the decoding, in seconds.
_START_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class VideoLimits:
    """Bounds on one video.

    `max_bytes` of the file, `max_seconds` of its length, `max_frame_pixels` of one frame before it is made smaller,
    `max_frames` that are sampled, and `pixels` of all those together as the model sees them. `seconds` and
    `memory_bytes` are the decoding process's.
    """

    max_bytes: int
    max_seconds: float
    max_frame_pixels: int
    max_frames: int
    pixels: int
    seconds: float
    memory_bytes: int


class VideoDecoder:
    """Decodes videos, `at_once` at a time; `fps` frames of a second are sampled where the request does not say."""

    def __init__(self, limits: VideoLimits, *, fps: float, at_once: int, fetcher: Fetcher | None = None) -> None:
        self._limits = limits
        self._fps = fps
        self._fetcher = fetcher
        self._places = asyncio.Semaphore(at_once)
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="video-decode")

    async def decode(self, video: VideoPart, bytes_left: ByteBudget) -> DecodedVideo:
        """The frames of one video. Raises InvalidRequest that names the part, Unavailable where too many wait."""
        body = await fetched(video, self._fetcher, bytes_left)
        # Of a data URL three bytes in four characters.
        media_metrics.BYTES.labels("video", source(video)).inc(len(video.url) * 3 // 4 if body is None else len(body))
        try:
            async with asyncio.timeout(self._limits.seconds):
                await self._places.acquire()
        except TimeoutError:
            raise Unavailable(
                "Too many videos are being decoded.", code="overloaded", retry_after=int(self._limits.seconds)
            ) from None
        running = _Running()
        working = asyncio.get_running_loop().run_in_executor(self._threads, self._run, video, body, running)
        # The place is free when the thread is, not when nobody waits for it any more.
        working.add_done_callback(lambda _: self._places.release())
        try:
            return await asyncio.shield(working)
        except asyncio.CancelledError:
            running.kill()
            working.add_done_callback(lambda done: done.cancelled() or done.exception())
            raise

    def close(self) -> None:
        """Lets the threads end."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _run(self, video: VideoPart, body: bytes | None, running: _Running) -> DecodedVideo:
        if body is None:
            body = from_data_url(video, self._limits.max_bytes)
        order = {**asdict(self._limits), "fps": video.fps or self._fps, "frames": video.frames}
        order["min_frames"] = min(_FEWEST_FRAMES, self._limits.max_frames) if video.frames is None else 1
        header = json.dumps(order).encode() + b"\n"
        with subprocess.Popen(
            # By its path and isolated: neither our modules nor our environment come along. Popen closes our sockets.
            [sys.executable, "-I", str(_WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.defpath},
        ) as process:
            running.started(process)
            ending = threading.Timer(self._limits.seconds + _START_SECONDS, process.kill)
            ending.start()
            try:
                out = self._exchange(process, header, body)
            finally:
                process.kill()  # it has ended, or it went on longer than its answer
                ending.cancel()
        return self._read(video, out, process.wait())

    def _exchange(self, process: subprocess.Popen[bytes], header: bytes, body: bytes) -> bytes:
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(header)
            process.stdin.write(body)
            process.stdin.close()
        # It reads everything before it writes anything. What it writes is bounded: it may no longer be itself.
        out = process.stdout.read(_most_bytes(self._limits))
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1.0)
        return out

    def _read(self, video: VideoPart, out: bytes, code: int) -> DecodedVideo:
        line, newline, pixels = out.partition(b"\n")
        if code != 0 or not newline:
            if code in (-24, -9):  # SIGXCPU at the soft limit, SIGKILL at the hard one
                raise refused(video, f"could not be decoded within {self._limits.seconds:g} seconds")
            raise refused(video, "could not be decoded: the file is broken or needs too much memory")
        try:
            answer = json.loads(line)
            if "error" in answer:
                raise refused(video, str(answer["error"]))
            return _decoded(answer, pixels)
        except (ValueError, TypeError, KeyError):
            raise refused(video, "could not be decoded: the file is broken") from None


def _decoded(answer: dict[str, Any], pixels: bytes) -> DecodedVideo:
    """The answer as a value. The process may have been taken over by what it read: ValueError if it does not add up."""
    video = DecodedVideo(
        pixels,
        frames=len(answer["indices"]),
        height=int(answer["height"]),
        width=int(answer["width"]),
        fps=float(answer["fps"]),
        total=int(answer["total"]),
        indices=tuple(map(int, answer["indices"])),
    )
    sound = min(video.frames, video.height, video.width, video.total) > 0 and 0 < video.fps < math.inf
    if not sound or video.frames * video.height * video.width * 3 != len(pixels):
        raise ValueError("not a video")
    return video


def _most_bytes(limits: VideoLimits) -> int:
    """What an answer can have: frames are rounded to whole tokens, of which thin ones have more than their share."""
    return 3 * 4 * max(limits.pixels, limits.max_frames * 1024) + 2**20


class _Running:
    """The process of one video, to be ended when nobody waits for it any more, started or not."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._killed = False

    def started(self, process: subprocess.Popen[bytes]) -> None:
        with self._lock:
            self._process = process
            if self._killed:
                process.kill()

    def kill(self) -> None:
        with self._lock:
            self._killed = True
            if self._process is not None:
                self._process.kill()

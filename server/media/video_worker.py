"""The process that decodes one stranger's video and ends: run as a file of its own, never imported by the daemon.

It reads a line of JSON (what `server.media.videos` orders) and then the video from standard input, and writes a line of
JSON and then raw RGB frames to standard output. Native decoders can crash, hang and be taken over: this process has no
sockets of the daemon's, can open no file once it has begun, and sets limits on its memory and processor time.
"""

from __future__ import annotations

import io
import json
import math
import os
import resource
import sys
from typing import Any

# The container is told by its first bytes; whatever else ffmpeg could guess, such as playlists that name other files,
# never reaches it. ffmpeg is told the same list.
_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif"
_FACTOR = 32
_LONGEST_SIDES = 200
_FASTEST = 1000.0


class Refused(Exception):
    """Why there are no frames, as the end of a sentence that begins with the video's name."""


def main() -> None:
    """Decodes what standard input holds; the answer's `error` says why there are no frames."""
    order = json.loads(sys.stdin.buffer.readline())
    _limit(resource.RLIMIT_CPU, math.ceil(order["seconds"]))
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, 0)
    os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = f"format_whitelist;{_CONTAINERS}|protocol_whitelist;none|threads;1"
    os.environ["OPENCV_FFMPEG_LOGLEVEL"] = "-8"
    os.environ["OPENCV_LOG_LEVEL"] = "OFF"
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    import cv2

    # Open files stay open; no new one, no socket and no pipe can be had from here on.
    _limit(resource.RLIMIT_NOFILE, 0)
    _limit(resource.RLIMIT_AS, order["memory_bytes"])
    cv2.setNumThreads(1)
    video = sys.stdin.buffer.read()
    try:
        answer, frames = _decode(cv2, video, order)
    except Refused as refused:
        answer, frames = {"error": str(refused)}, []
    except (cv2.error, MemoryError):
        answer, frames = {"error": "could not be decoded: the file is broken or needs too much memory"}, []
    out = sys.stdout.buffer
    out.write(json.dumps(answer).encode() + b"\n")
    for frame in frames:
        out.write(memoryview(frame).cast("B"))
    out.flush()


def _limit(what: int, value: int) -> None:
    resource.setrlimit(what, (value, value))


def _decode(cv2: Any, video: bytes, order: dict[str, Any]) -> tuple[dict[str, Any], list[Any]]:
    if not _is_known(video):
        raise Refused("is not a video in one of the formats MP4, MOV, WebM, Matroska, AVI, GIF")
    capture = _open(cv2, video)
    width, height = (int(capture.get(each)) for each in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    if width < 1 or height < 1:
        raise Refused("has no pictures")
    if width * height > order["max_frame_pixels"]:
        raise Refused(f"has more than {order['max_frame_pixels']} pixels a frame")
    if max(width, height) > _LONGEST_SIDES * min(width, height):
        raise Refused(f"is more than {_LONGEST_SIDES} times as long as it is wide")
    fps = capture.get(cv2.CAP_PROP_FPS)
    fps = fps if 0 < fps <= _FASTEST else 24.0
    most = math.floor(order["max_seconds"] * fps)
    total = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    # A recording that was never finished has no count in its header, and a header may lie.
    if not 0 < total <= _most_frames(len(video)):
        total = _count(_open(cv2, video), most)
    while True:
        if total > most:
            raise Refused(f"is longer than {order['max_seconds']:g} seconds")
        if total < 1:
            raise Refused("has no frame that can be decoded")
        indices = _indices(total, fps, order)
        frames, seen = _read(cv2, _open(cv2, video), indices, order["max_frame_pixels"], order["pixels"])
        if len(frames) == len(indices):
            break
        total = seen  # the header promised more than there is
    if len(frames) == 1:
        # The model looks at pairs of frames, and its processor refuses less.
        frames, indices = frames * 2, indices * 2
    answer = {
        "fps": fps,
        "total": total,
        "indices": indices,
        "height": int(frames[0].shape[0]),
        "width": int(frames[0].shape[1]),
    }
    return answer, frames


def _is_known(video: bytes) -> bool:
    if video[:4] in (b"\x1a\x45\xdf\xa3", b"GIF8"):
        return True
    if video[:4] == b"RIFF":
        return video[8:12] == b"AVI "
    return video[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")


def _most_frames(size: int) -> int:
    """No container spends less than a byte on a frame."""
    return size


def _open(cv2: Any, video: bytes) -> Any:
    capture = cv2.VideoCapture(io.BytesIO(video), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    if not capture.isOpened():
        raise Refused("could not be decoded: the file is broken, or its codec is not known here")
    return capture


def _count(capture: Any, most: int) -> int:
    """Frames that are there, counted no further than one over `most`."""
    count = 0
    while count <= most and capture.grab():
        count += 1
    return count


def _indices(total: int, fps: float, order: dict[str, Any]) -> list[int]:
    """Which frames to take: evenly from the first to the last, as Qwen's own processor takes them."""
    wanted = order["frames"] if order["frames"] is not None else int(total / fps * order["fps"])
    count = min(max(wanted, order["min_frames"]), order["max_frames"], total)
    if count == 1:
        return [0]
    return [round(number * (total - 1) / (count - 1)) for number in range(count)]


def _read(cv2: Any, capture: Any, indices: list[int], most_pixels: int, pixels: int) -> tuple[list[Any], int]:
    """The frames at `indices`, small enough to have `pixels` together, and how many frames were passed."""
    frames: list[Any] = []
    seen, size = 0, None
    for index in indices:
        while seen <= index:
            if not capture.grab():
                return frames, seen
            seen += 1
        good, frame = capture.retrieve()
        if not good or frame is None:
            return frames, seen - 1
        height, width = frame.shape[:2]
        if height * width > most_pixels:  # streams may change their size on the way
            raise Refused(f"has more than {most_pixels} pixels a frame")
        size = size or _fitting(width, height, pixels // len(indices))
        if (width, height) != size:
            frame = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
    return frames, seen


def _fitting(width: int, height: int, pixels: int) -> tuple[int, int]:
    """The frame's own size, or the largest in its proportions that fits and is a whole number of the model's tokens."""
    if width * height <= pixels:
        return width, height
    scale = math.sqrt(pixels / (width * height))
    small_width, small_height = (max(_FACTOR, int(side * scale) // _FACTOR * _FACTOR) for side in (width, height))
    return small_width, small_height


if __name__ == "__main__":
    main()

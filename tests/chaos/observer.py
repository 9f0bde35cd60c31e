"""Asks a daemon for its health all the time, as an orchestrator does, and keeps what changed and when."""

from __future__ import annotations

import threading
import time

import httpx

from tests.daemon_process import DaemonProcess


class Observer:
    """Runs from its making to `stop`; times are seconds since `mark`."""

    def __init__(self, daemon: DaemonProcess) -> None:
        self._url = daemon.url
        self._since = time.monotonic()
        self._ended = threading.Event()
        self.seen: list[tuple[float, str]] = []
        self.slowest = 0.0
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def mark(self) -> None:
        """The fault is now."""
        self._since = time.monotonic()
        self.seen = self.seen[-1:]

    def stop(self) -> str:
        """What was said, in words."""
        self._ended.set()
        self._thread.join(10)
        return ", ".join(f"{what} at {max(0.0, moment - self._since):.1f} s" for moment, what in self.seen)

    @property
    def words(self) -> list[str]:
        return [what for _, what in self.seen]

    def _watch(self) -> None:
        with httpx.Client(base_url=self._url, timeout=5) as client:
            while not self._ended.is_set():
                now = self._ask(client)
                if not self.seen or self.seen[-1][1] != now:
                    self.seen.append((time.monotonic(), now))
                self._ended.wait(0.1)

    def _ask(self, client: httpx.Client) -> str:
        try:
            began = time.monotonic()
            ready = client.get("/health/ready")
            self.slowest = max(self.slowest, time.monotonic() - began)
            live = client.get("/health/live")
        except httpx.TransportError:
            return "no answer"
        return f"{ready.json()['status']} ({ready.status_code}, live {live.status_code})"

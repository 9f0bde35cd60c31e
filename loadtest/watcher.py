"""What goes on at the server during a run: its own metrics once a second, and the scenario's events."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from dataclasses import dataclass, field

from loadtest.http_client import Lost, Target, ask
from loadtest.scenario_schema import Event

# Names of gauges that servers offer -> what the report calls them; those of several labels are added up.
GAUGES = {
    "vllm:num_requests_running": "running",
    "vllm:num_requests_waiting": "engine queue",
    "qwend_admission_waiting": "admission queue",
    "qwend_requests_in_flight": "in flight",
    "vllm:kv_cache_usage_perc": "kv cache",
    "sglang:num_running_reqs": "running",
    "sglang:num_queue_reqs": "engine queue",
}
_LINE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{[^}]*\})?\s+(\S+)")


@dataclass
class Seen:
    """Samples of the server's gauges, and what became of the events; times are seconds from the start."""

    at: list[float] = field(default_factory=list)
    gauges: dict[str, list[float]] = field(default_factory=dict)
    events: list[dict[str, object]] = field(default_factory=list)
    misses: int = 0


def gauges(text: str) -> dict[str, float]:
    """The known gauges in an answer of Prometheus's text format."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        match = _LINE.match(line)
        if match and (name := GAUGES.get(match[1])):
            try:
                found[name] = found.get(name, 0.0) + float(match[2])
            except ValueError:
                continue
    return found


class Watcher:
    """Watches in a thread of its own, from `start` (`time.monotonic`) until it is stopped."""

    def __init__(
        self, metrics_url: str | None, events: list[Event], admin_url: str | None, headers: dict[str, str]
    ) -> None:
        self.seen = Seen()
        self._metrics, self._headers = metrics_url, headers
        self._events = [
            (event.at, event.post.replace("{admin_url}", (admin_url or "").rstrip("/"))) for event in events
        ]
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, start: float) -> None:
        """From now on."""
        self._thread = threading.Thread(target=lambda: asyncio.run(self._watch(start)), daemon=True)
        self._thread.start()

    def end(self) -> Seen:
        """What was seen."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(5)
        return self.seen

    async def _watch(self, start: float) -> None:
        await asyncio.gather(self._scrape(start), *(self._post(start, at, url) for at, url in self._events))

    async def _until(self, moment: float) -> bool:
        while (left := moment - time.monotonic()) > 0 and not self._stop.is_set():
            await asyncio.sleep(min(left, 0.2))
        return not self._stop.is_set()

    async def _scrape(self, start: float) -> None:
        if self._metrics is None:
            return
        target, path = _split(self._metrics)
        due = start
        while await self._until(due):
            try:
                answer = await ask(target, "GET", path, self._headers, timeout=2.0)
                found = gauges(answer.text.decode(errors="replace")) if answer.status == 200 else {}
            except (OSError, Lost, TimeoutError):
                found = {}
            if found:
                self.seen.at.append(round(time.monotonic() - start, 3))
                for name in {*self.seen.gauges, *found}:
                    earlier = self.seen.gauges.setdefault(name, [0.0] * (len(self.seen.at) - 1))
                    earlier.append(found.get(name, 0.0))
            else:
                self.seen.misses += 1
                if self.seen.misses >= 3 and not self.seen.at:
                    return
            due = max(due + 1.0, time.monotonic())

    async def _post(self, start: float, at: float, url: str) -> None:
        if not await self._until(start + at):
            return
        result: dict[str, object] = {"at": at, "post": url}
        try:
            target, path = _split(url)
            result["status"] = (await ask(target, "POST", path, {})).status
        except (OSError, Lost, TimeoutError, ValueError) as error:
            result["error"] = type(error).__name__
        self.seen.events.append(result)


def _split(url: str) -> tuple[Target, str]:
    target = Target.of(url)
    return Target(target.host, target.port, target.tls, ""), target.root or "/"

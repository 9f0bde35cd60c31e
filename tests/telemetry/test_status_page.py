"""The status page in headless Chromium, under load."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from pathlib import Path

import pytest

from tests.chat_client import ask, body, long_body
from tests.telemetry.browser import shown
from tests.telemetry.observed import ADA, BOB, CAROL, Observed

pytestmark = [pytest.mark.engine, pytest.mark.slow]


async def test_the_page_shows_what_runs_and_what_was_refused(observed: Observed, tmp_path: Path) -> None:
    picture = tmp_path / "status.png"
    async with observed.client(ADA) as ada, observed.client(BOB) as bob, observed.client(CAROL) as carol:
        running = [asyncio.create_task(ask(ada, long_body(3000))) for _ in range(30)]
        running += [asyncio.create_task(ask(bob, long_body(3000))) for _ in range(12)]
        # More than its quota, for long enough that it is told as a strain.
        for _ in range(100):
            await carol.post("/v1/chat/completions", json=body(max_tokens=2))
            await asyncio.sleep(0.1)
        html = await shown(f"{observed.daemon.admin_url}/", picture, 4)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    assert '"state strained">serving' in html
    assert re.search(r"[\d.]+ requests a second are refused, one tenant's", html)
    for told in ("ada", "bob", "carol", "rate_limited", "KV blocks", "decode", "heartbeat age"):
        assert f">{told}<" in html, told
    rate = re.search(r">output tokens / s</span><b[^>]*>([\d.,]+)<", html)
    assert rate is not None
    assert float(rate[1].replace(",", "")) > 10
    assert picture.stat().st_size > 10_000
    if keep := os.environ.get("QWEND_KEEP_PICTURE"):
        shutil.copy(picture, keep)

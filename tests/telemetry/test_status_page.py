"""The status page in headless Chromium, under load."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from tests.chat_client import ask, body, long_body
from tests.telemetry.observed import ADA, BOB, CAROL, Observed

pytestmark = [pytest.mark.engine, pytest.mark.slow]


async def browse(*arguments: str) -> str:
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        why = "there is no Chromium; QWEND_TEST_WITHOUT_CHROMIUM=1 skips this"
        if os.environ.get("QWEND_TEST_WITHOUT_CHROMIUM") == "1":
            pytest.skip(why)
        pytest.fail(why)
    process = await asyncio.create_subprocess_exec(
        *(program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"),
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    return out.decode()


async def test_the_page_shows_what_runs_and_what_was_refused(observed: Observed, tmp_path: Path) -> None:
    picture = tmp_path / "status.png"
    async with observed.client(ADA) as ada, observed.client(BOB) as bob, observed.client(CAROL) as carol:
        running = [asyncio.create_task(ask(ada, long_body(1500))) for _ in range(20)]
        running += [asyncio.create_task(ask(bob, long_body(1500))) for _ in range(12)]
        for _ in range(8):
            await carol.post("/v1/chat/completions", json=body(max_tokens=2))
        url = f"{observed.daemon.admin_url}/"
        shown = await browse("--virtual-time-budget=4000", "--dump-dom", url)
        await browse("--timeout=6000", "--window-size=1240,900", f"--screenshot={picture}", url)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    assert "serving" in shown
    for told in ("ada", "bob", "carol", "rate_limited", "KV blocks", "decode", "heartbeat age"):
        assert f">{told}<" in shown, told
    assert picture.stat().st_size > 10_000
    if keep := os.environ.get("QWEND_KEEP_PICTURE"):
        shutil.copy(picture, keep)

"""A page as headless Chromium shows it after some seconds, over its DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect


def chromium() -> str:
    """The browser's path."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        why = "there is no Chromium; QWEND_TEST_WITHOUT_CHROMIUM=1 skips this"
        if os.environ.get("QWEND_TEST_WITHOUT_CHROMIUM") == "1":
            pytest.skip(why)
        pytest.fail(why)
    return found


async def shown(url: str, picture: Path, seconds: float, width: int = 1240, height: int = 900) -> str:
    """The page's HTML after `seconds` of its scripts; `picture` is written then."""
    with tempfile.TemporaryDirectory(prefix="qwend-chromium-", ignore_cleanup_errors=True) as folder:
        process = await asyncio.create_subprocess_exec(
            *(chromium(), "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *("--hide-scrollbars", f"--window-size={width},{height}", f"--user-data-dir={folder}"),
            *("--remote-debugging-port=0", "about:blank"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(60 + seconds):
                return await _page(await _address(process), url, picture, seconds, (width, height))
        finally:
            process.terminate()
            await process.wait()


async def _address(process: asyncio.subprocess.Process) -> str:
    assert process.stderr is not None
    async for line in process.stderr:
        if match := re.search(rb"DevTools listening on (ws://\S+)", line):
            return match[1].decode()
    raise AssertionError("Chromium ended before it listened")


async def _page(address: str, url: str, picture: Path, seconds: float, size: tuple[int, int]) -> str:
    async with connect(address, max_size=None) as browser:
        numbers = itertools.count(1)

        async def call(method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
            return await _call(browser, next(numbers), method, session, params)

        target = (await call("Target.createTarget", url=url))["targetId"]
        page = (await call("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        width, height = size
        await call(
            "Emulation.setDeviceMetricsOverride", page, width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        await asyncio.sleep(seconds)
        html = await call("Runtime.evaluate", page, expression="document.documentElement.outerHTML")
        image = await call("Page.captureScreenshot", page, format="png")
    await asyncio.to_thread(picture.write_bytes, base64.b64decode(image["data"]))
    found: str = html["result"]["value"]
    return found


async def _call(
    browser: ClientConnection, number: int, method: str, session: str | None, params: dict[str, Any]
) -> dict[str, Any]:
    await browser.send(
        json.dumps({"id": number, "method": method, "params": params, **({"sessionId": session} if session else {})})
    )
    while (answer := json.loads(await browser.recv())).get("id") != number:
        pass  # an event
    assert "error" not in answer, answer
    result: dict[str, Any] = answer["result"]
    return result

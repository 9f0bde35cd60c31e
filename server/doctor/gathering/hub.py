"""One question to the model hub, which never takes longer than `SECONDS` however the network fails."""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import quote

from server.doctor.hub import HubFacts, HubFile

SECONDS = 3.0

_TRUE = ("1", "ON", "YES", "TRUE")


def ask_hub(environment: Mapping[str, str], model: str, revision: str | None, seconds: float = SECONDS) -> HubFacts:
    """What the hub says of a model; with HF_HUB_OFFLINE it is not asked."""
    endpoint = (environment.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
    offline = any(environment.get(name, "").upper() in _TRUE for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))
    if offline:
        return HubFacts(endpoint, offline=True)
    answers: list[HubFacts] = []
    url = f"{endpoint}/api/models/{quote(model)}/revision/{quote(revision or 'main', safe='')}?blobs=true"
    # A thread that nobody waits for, since a name's look-up cannot be given a time limit.
    asking = Thread(target=lambda: answers.append(_ask(endpoint, url, _token(environment), seconds)), daemon=True)
    asking.start()
    asking.join(seconds)
    return answers[0] if answers else HubFacts(endpoint, trouble=f"no answer in {seconds:g} s", seconds=seconds)


def _ask(endpoint: str, url: str, token: str | None, seconds: float) -> HubFacts:
    import httpx

    began = time.monotonic()
    try:
        answer = httpx.get(
            url,
            headers={"authorization": f"Bearer {token}"} if token else {},
            timeout=seconds,
            follow_redirects=True,
        )
        files, commit = _listing(answer.json()) if answer.status_code == 200 else ({}, "")
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        why = str(error).strip() or type(error).__name__
        return HubFacts(endpoint, trouble=why, seconds=time.monotonic() - began)
    return HubFacts(
        endpoint=endpoint,
        status=answer.status_code,
        trouble="" if answer.status_code == 200 else f"HTTP status {answer.status_code}",
        seconds=time.monotonic() - began,
        commit=commit,
        files=files,
        ahead=_ahead(answer.headers.get("date", "")),
    )


def _listing(answer: dict[str, Any]) -> tuple[dict[str, HubFile], str]:
    files = {
        each["rfilename"]: HubFile(int(each.get("size") or 0), (each.get("lfs") or {}).get("sha256") or each["blobId"])
        for each in answer["siblings"]
    }
    return files, str(answer.get("sha") or "")


def _ahead(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp() - time.time()
    except (TypeError, ValueError):
        return None


def _token(environment: Mapping[str, str]) -> str | None:
    """The token that huggingface_hub would send: HF_TOKEN, or what `hf auth login` left."""
    if environment.get("HF_TOKEN"):
        return environment["HF_TOKEN"]
    home = environment.get("HF_HOME")
    folder = Path(home) if home else Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"
    path = Path(environment.get("HF_TOKEN_PATH") or folder / "token")
    try:
        return path.expanduser().read_text().strip() or None
    except (OSError, UnicodeDecodeError):
        return None

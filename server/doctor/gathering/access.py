"""The tenants file as the daemon reads it, and the Redis of the quotas as it asks it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

from server.admission.tenant_file import TenantFileError, load
from server.doctor.access import RedisFacts, TenantFacts

_SECONDS = 2.0


def gather_tenants(file: str | None, keys: str | None = None) -> TenantFacts | None:
    """What reading the tenants file, the file of keys or both gives; None where neither is set."""
    if file is None and keys is None:
        return None
    try:
        directory = load(Path(file) if file is not None else None, keys=Path(keys) if keys is not None else None)
        return TenantFacts(len(directory.tenants))
    except TenantFileError as error:
        return TenantFacts(trouble=str(error))


def gather_redis(url: str | None, seconds: float = _SECONDS) -> RedisFacts | None:
    """Whether the Redis at `url` answers within `seconds`; None where none is set."""
    if url is None:
        return None
    parts = urlsplit(url)
    # Of several hosts, as of sentinels, the text after the last password.
    address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    answers: list[RedisFacts] = []
    # A name's look-up cannot be given a time limit.
    asking = Thread(target=lambda: answers.append(asyncio.run(_asked(url, address, seconds))), daemon=True)
    asking.start()
    asking.join(seconds + 0.5)
    return answers[0] if answers else RedisFacts(address, trouble=f"no answer in {seconds:g} s")


async def _asked(url: str, address: str, seconds: float) -> RedisFacts:
    from limits.errors import ConfigurationError
    from redis.exceptions import RedisError

    from server.admission.quota_redis import RedisStore, StoreLost

    try:
        store = RedisStore(url, seconds)
    except (ValueError, ConfigurationError, RedisError) as error:
        # The library's message may repeat the URL, with the password in it.
        return RedisFacts(address, trouble=f"the URL cannot be used ({type(error).__name__})")
    try:
        await store.check()  # connects
        began = time.monotonic()
        await store.check()
        return RedisFacts(address, time.monotonic() - began)
    except StoreLost as error:
        return RedisFacts(address, trouble=str(error))
    finally:
        await store.close()

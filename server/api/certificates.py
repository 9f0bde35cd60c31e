"""The TLS certificate of a listener, renewed in place: connections that are open go on, new ones get the new chain."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

from server.admission.tenant_file import stamp
from server.telemetry.logs import get_logger

_log = get_logger("tls")

_POLL_SECONDS = 1.0


class CertificateError(ValueError):
    """A certificate and its key cannot be used; the message names the files."""


class Certificates:
    """A chain and its key, in PEM files without a passphrase. Raises CertificateError when made."""

    def __init__(self, chain: Path, key: Path) -> None:
        self._chain = chain
        self._key = key
        self._lock = asyncio.Lock()
        self.context = self._fresh()
        self._seen = self._stamps()

    async def reload(self) -> bool:
        """Reads the files again; whether they could be used. What was before stays if not."""
        async with self._lock:
            self._seen = await asyncio.to_thread(self._stamps)
            try:
                # Into a context of its own first: one that fails half-way would leave a chain without its key.
                await asyncio.to_thread(self._fresh)
                await asyncio.to_thread(self.context.load_cert_chain, self._chain, self._key, _no_passphrase)
            except (CertificateError, OSError) as error:
                _log.error("certificate not reloaded, the old one stays", why=str(error))
                return False
        _log.info("certificate reloaded", chain=str(self._chain))
        return True

    async def watch(self) -> None:
        """Reloads whenever one of the files changes; runs until cancelled."""
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            if await asyncio.to_thread(self._stamps) != self._seen:
                await self.reload()

    def _fresh(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # A client could make the server work for it as often as it likes.
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self._chain, self._key, _no_passphrase)
        except OSError as error:  # SSLError is one
            raise CertificateError(f"{self._chain}, {self._key}: {error.strerror or error}") from None
        return context

    def _stamps(self) -> tuple[tuple[int, ...] | None, ...]:
        return stamp(self._chain), stamp(self._key)


def _no_passphrase() -> str:
    """OpenSSL would ask for one on the terminal."""
    return ""

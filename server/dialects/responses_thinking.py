"""The thinking of a reasoning item in the one field that stateless clients send back: `encrypted_content`.

OpenAI encrypts it, since its clients may not read it. Here they may: the thinking is in the answer anyway. So it is
only packed, and no more trusted when it comes back than any other text of the client's.
"""

from __future__ import annotations

import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode

_MARK = "qwend1."
# Of text that was packed: no context holds more, and a few bytes could unpack to gigabytes.
_MOST_BYTES = 16 * 2**20


def sealed(thinking: str) -> str:
    """The thinking packed into one opaque word."""
    return _MARK + urlsafe_b64encode(zlib.compress(thinking.encode("utf-8", "replace"))).decode()


def opened(content: str) -> str | None:
    """The thinking that `sealed` packed; None for what somebody else made, or what unpacks to more than 16 MiB."""
    if not content.startswith(_MARK):
        return None
    try:
        unpacking = zlib.decompressobj()
        text = unpacking.decompress(urlsafe_b64decode(content[len(_MARK) :]), _MOST_BYTES)
        return text.decode() if unpacking.eof else None
    except (ValueError, zlib.error):
        return None

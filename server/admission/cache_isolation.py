"""Keeps tenants apart in the prefix cache, where a prompt that another one has sent is computed faster than a new one.

By that time, and by `cached_tokens`, a tenant could find out what others ask. vLLM mixes a request's `cache_salt` into
the keys of its blocks; a tenant that is kept apart gets one that nobody else can send.
"""

from __future__ import annotations

import hashlib
import secrets

from server.admission.tenants import Tenant

# Of this process: another one has another cache. A key made of the name alone could be sent by anybody as a salt.
_SECRET = secrets.token_bytes(32)


def cache_salt(tenant: Tenant, asked: str | None) -> str | None:
    """The salt of a request whose client asked for `asked`: where the tenant is kept apart, 32 hexadecimal digits."""
    if not tenant.private_cache:
        return asked
    told = f"{tenant.name}\n{'' if asked is None else '=' + asked}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(told, digest_size=16, key=_SECRET).hexdigest()

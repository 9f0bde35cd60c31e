#!/usr/bin/env python3
"""Asks the daemon of this container whether it is ready; exits with 0 if so. The image's HEALTHCHECK.

It reads where the daemon listens from the same environment variables. A daemon that was told its port by a flag needs
the port as this script's argument.
"""

import os
import ssl
import sys
import urllib.request

SECONDS = 4


def main() -> int:
    port = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("QWEND_SERVER__PORT", "8000")
    secure = "QWEND_SERVER__TLS_CERTIFICATE" in os.environ
    # The name in the certificate is not the loopback address; nothing is sent, and what answers is ourselves.
    context = ssl._create_unverified_context() if secure else None
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(f"{'https' if secure else 'http'}://127.0.0.1:{port}/health/ready", timeout=SECONDS):
            return 0
    except OSError as error:
        print(error)
        return 1


if __name__ == "__main__":
    sys.exit(main())

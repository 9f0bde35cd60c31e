"""What the reference checkpoint must be able to do, on held-out questions through the daemon at temperature 0."""

from __future__ import annotations

import pytest

from server.reference.evaluate import evaluate
from tests.daemon_process import DaemonProcess

pytestmark = pytest.mark.engine

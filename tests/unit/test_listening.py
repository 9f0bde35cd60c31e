from __future__ import annotations

import resource
import socket
import subprocess
import sys

import pytest

from server.front_settings import ServerSettings
from server.listening import LISTENERS, CannotListen, allow_open_files, listeners


def test_a_taken_port_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(CannotListen) as told:
            listeners(ServerSettings(port=port))
        assert (told.value.which, told.value.port) == ("public", port)
        with pytest.raises(CannotListen) as told:
            listeners(ServerSettings(port=0, admin_port=port))
        assert (told.value.which, told.value.port) == ("admin", port)


def test_a_supervisors_sockets_are_taken_over_and_kept_from_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    (kept,) = listeners(ServerSettings(port=0, admin=False))
    copy = kept.dup()
    copy.set_inheritable(True)
    monkeypatch.setenv(LISTENERS, str(copy.fileno()))
    # Whatever the settings say: the port is taken, by those very sockets.
    (found,) = listeners(ServerSettings(port=kept.getsockname()[1], admin=False))
    assert found.getsockname() == kept.getsockname()
    assert not found.get_inheritable()
    copy.detach()
    found.close()
    kept.close()


def test_the_soft_limit_on_open_files_is_raised() -> None:
    code = """
import resource
from server.listening import allow_open_files
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
print(allow_open_files(), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    raised, soft, hard = map(int, done.stdout.split())
    assert raised == soft > 256
    assert hard == resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert allow_open_files() <= hard or hard == -1

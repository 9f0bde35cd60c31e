"""A copy of the policy and the simulator, with changes to their source: to see that a property fails where it must."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType, SimpleNamespace

POLICY = "server.admission.policy"
SIMULATION = "loadtest.simulation"
# (module of the policy, what stands there once, what is to stand there)
Change = tuple[str, str, str]


class _Changed(SourceFileLoader):
    def __init__(self, name: str, path: str, changes: Sequence[Change]) -> None:
        super().__init__(name, path)
        self._changes = changes

    def get_code(self, fullname: str) -> CodeType:
        source = self.get_source(fullname)
        assert source is not None
        for _, old, new in self._changes:
            assert source.count(old) == 1, f"{fullname} has {old!r} {source.count(old)} times"
            source = source.replace(old, new)
        return compile(source, self.path, "exec")


class _Finder:
    def __init__(self, changes: Sequence[Change]) -> None:
        self._changes = changes

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        mine = [change for change in self._changes if f"{POLICY}.{change[0]}" == name]
        if not mine:
            return None
        spec = PathFinder.find_spec(name, path)
        assert spec is not None
        assert spec.origin is not None
        return importlib.util.spec_from_loader(name, _Changed(name, spec.origin, mine), origin=spec.origin)


@contextmanager
def _aside() -> Iterator[None]:
    def ours(name: str) -> bool:
        return name == POLICY or name.startswith((POLICY + ".", SIMULATION))

    kept = {name: sys.modules.pop(name) for name in list(sys.modules) if ours(name)}
    try:
        yield
    finally:
        for name in [name for name in sys.modules if ours(name)]:
            del sys.modules[name]
        sys.modules.update(kept)
        for name, module in kept.items():
            parent, _, leaf = name.rpartition(".")
            setattr(sys.modules[parent], leaf, module)


def fresh(*changes: Change) -> SimpleNamespace:
    """Modules by their last name, of the policy and of the simulator."""
    names = {f"{POLICY}.{each}" for each in ("controller", "parameters", "ticket", "engine_model", "peak_kv")}
    names |= {f"{SIMULATION}.{each}" for each in ("run", "workload", "policies", "report")}
    finder = _Finder(changes)
    with _aside():
        sys.meta_path.insert(0, finder)  # type: ignore[arg-type]
        try:
            return SimpleNamespace(**{name.rpartition(".")[2]: importlib.import_module(name) for name in names})
        finally:
            sys.meta_path.remove(finder)  # type: ignore[arg-type]


UNCHANGED = fresh()

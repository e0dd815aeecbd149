"""The office of the engine's tests serves the benchmarks, too."""

from tests.sync.conftest import office

__all__ = ["office"]

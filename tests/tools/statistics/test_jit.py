"""Compilation where no cache can be kept."""

from __future__ import annotations

from bumpscout_tools.statistics._jit import jit, jit_fast


def test_code_without_a_place_for_its_cache_is_compiled_in_memory() -> None:
    space: dict[str, object] = {}
    exec("def twice(x):\n    return 2.0 * x\n", space)
    twice = space["twice"]
    assert callable(twice)
    assert jit(twice)(21.0) == 42.0
    assert jit_fast(twice)(21.0) == 42.0

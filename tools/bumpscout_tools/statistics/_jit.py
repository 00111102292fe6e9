"""Typed front of ``numba.njit``: compiled functions keep their signatures for the type checker."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba

__all__ = ["jit", "jit_fast"]

Function = TypeVar("Function", bound=Callable[..., object])

# Sums may be reordered, so that loops become vector instructions; NaN and infinity keep their
# meaning, because the fits test for them.
_REORDER = {"reassoc", "contract", "arcp", "nsz"}


def _compile(function: Function, fastmath: set[str] | bool) -> Function:
    def compiled(cache: bool) -> object:
        return numba.njit(function, cache=cache, nogil=True, fastmath=fastmath, error_model="numpy")

    try:
        return cast(Function, compiled(cache=True))
    except RuntimeError:
        # No folder for the cache can be written, as inside the wall: compile in memory.
        return cast(Function, compiled(cache=False))


def jit(function: Function) -> Function:
    """Compile `function` with strict floating-point arithmetic; it runs without the GIL.

    The compiled code is cached beside the source, or in numba's own cache folder; where neither
    can be written it is compiled anew in each process. A cached function does not notice that a
    compiled function of *another* module changed, so compiled functions call only their own module.
    """
    return _compile(function, False)


def jit_fast(function: Function) -> Function:
    """Compile `function` as `jit` does, and let sums be reordered."""
    return _compile(function, _REORDER)

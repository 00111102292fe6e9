"""How alike the methods of a plan are: rank correlation of scores, overlap of selections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator
from scipy.stats import rankdata

__all__ = ["Correlation", "Overlap", "correlate"]

FloatArray = npt.NDArray[np.float64]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Overlap(_Record):
    """Events that two methods select alike at one working point.

    `share` (methods, methods) is the number of events that both keep over the number that each
    keeps; unrelated methods have the efficiency itself.
    """

    efficiency: float = Field(gt=0, le=1)
    n_selected: int = Field(ge=1)
    share: tuple[tuple[float, ...], ...] = Field(max_length=64)


class Correlation(_Record):
    """Spearman's rank correlation (methods, methods) of scores, and overlaps of selections.

    Scores of detectors that are trained for a window are those of `window_gev`; all events that
    were scored count.
    """

    methods: tuple[str, ...] = Field(max_length=64)
    n_events: int = Field(ge=2)
    window_gev: tuple[float, float] | None = None
    spearman: tuple[tuple[float, ...], ...] = Field(max_length=64)
    overlaps: tuple[Overlap, ...] = Field(default=(), max_length=1000)

    @model_validator(mode="after")
    def _square(self) -> Self:
        n = len(self.methods)
        for matrix in (self.spearman, *(overlap.share for overlap in self.overlaps)):
            if len(matrix) != n or any(len(row) != n for row in matrix):
                raise ValueError(f"a matrix of {n} methods has {n} rows of {n} values")
        return self


def correlate(
    methods: Sequence[str],
    scores: Sequence[FloatArray],
    efficiencies: Sequence[float],
    window_gev: tuple[float, float] | None = None,
) -> Correlation:
    """Compare the scores of methods on the same events.

    A score that is the same for all events has the correlation 0 with all others. Methods that
    have the same name are numbered.

    Args:
        methods: names of the m methods.
        scores: (n,) of each, higher is more anomalous.
        efficiencies: working points.
        window_gev: signal window of the scores.
    """
    ranks = np.stack([rankdata(score) for score in scores])
    centred = ranks - ranks.mean(axis=1, keepdims=True)
    size = np.sqrt((centred**2).sum(axis=1))
    unit = np.divide(centred, size[:, None], out=np.zeros_like(centred), where=size[:, None] > 0)
    spearman = np.clip(unit @ unit.T, -1.0, 1.0)
    np.fill_diagonal(spearman, 1.0)
    n = ranks.shape[1]
    order = np.argsort(-ranks, axis=1, kind="stable")
    overlaps = []
    for efficiency in efficiencies:
        kept = max(1, round(efficiency * n))
        chosen = np.zeros(ranks.shape)
        np.put_along_axis(chosen, order[:, :kept], 1.0, axis=1)
        overlaps.append(
            Overlap(efficiency=efficiency, n_selected=kept, share=_rows(chosen @ chosen.T / kept))
        )
    return Correlation(
        methods=_numbered(methods),
        n_events=n,
        window_gev=window_gev,
        spearman=_rows(spearman),
        overlaps=tuple(overlaps),
    )


def _rows(matrix: FloatArray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(round(float(value), 6) for value in row) for row in matrix)


def _numbered(names: Sequence[str]) -> tuple[str, ...]:
    """Return names that are all different: "cwola", "cwola 2"."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name} {seen[name]}")
    return tuple(found)

"""Settings of the rapidity-mass matrix: its objects, how many of each, and what is blinded."""

from __future__ import annotations

import math
import re
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = [
    "OBJECTS",
    "QUALITY",
    "RMM_MASSES",
    "STANDARD_BLINDING",
    "RmmConfig",
    "TransverseEnergy",
    "parse_object",
    "position",
]

OBJECTS: tuple[str, ...] = ("j", "b", "mu", "e", "gamma")
"""Types of objects in the order of the matrix: light jets, b-jets, muons, electrons, photons."""

RMM_MASSES: dict[str, tuple[str, str]] = {
    "m_jj": ("j1", "j2"),
    "m_jb": ("j1", "b1"),
    "m_bb": ("b1", "b2"),
    "m_je": ("j1", "e1"),
    "m_be": ("b1", "e1"),
    "m_jmu": ("j1", "mu1"),
    "m_bmu": ("b1", "mu1"),
    "m_jgamma": ("j1", "gamma1"),
    "m_bgamma": ("b1", "gamma1"),
}
"""The nine scanned masses of PRL 132 (2024) 081801, each of the leading objects of two types."""

STANDARD_BLINDING: tuple[tuple[str, str], ...] = tuple(RMM_MASSES.values())

QUALITY: dict[str, dict[str, tuple[float, float]]] = {
    "jets": {"jet_id": (1, math.inf), "jvt": (1, math.inf)},
    "electrons": {"id": (2, math.inf), "tight": (1, math.inf), "isolation": (-math.inf, 0.25)},
    "muons": {"tight": (1, math.inf), "quality": (0, 2), "isolation": (-math.inf, 0.25)},
    "photons": {"id": (1, math.inf), "tight": (1, math.inf)},
}
"""Lowest and highest value of identified objects, by kind and column of the file.

CMS: jets that pass any jet identification, loose cut-based electrons and photons, tight muons,
relative isolation below 0.25. ATLAS: jets that pass the vertex tagger, tight electrons and photons,
loose muons.
"""

TransverseEnergy = Literal["invariant", "sin-theta"]
Maximum = Annotated[int, Field(ge=0, le=100)]


class RmmConfig(BaseModel):
    """What goes into the matrix; the defaults leave the 1287 inputs of PRL 132 (2024) 081801.

    There 10 objects of each type make 51 x 51 cells, of which the rows and columns of muons,
    electrons and photons 6 to 10 and nine blinded masses are dropped. A cell depends on its own
    objects alone, so at most 5 muons, electrons and photons give the same 1287 numbers.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    light_jets: Maximum = 10
    b_jets: Maximum = 10
    muons: Maximum = 5
    electrons: Maximum = 5
    photons: Maximum = 5
    sqrt_s_gev: Annotated[float, Field(gt=0)] = 13_000.0
    pt_min_gev: Annotated[float, Field(ge=0)] = 30.0
    abs_eta_max: Annotated[float, Field(gt=0)] = 2.4
    met_min_gev: Annotated[float, Field(ge=0)] = Field(
        default=30.0, description="missing transverse energy below it counts as none"
    )
    btag_min: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.5, description="smallest b-tag score of a b-jet"
    )
    identified: bool = Field(
        default=False,
        description="leave out objects that the file itself marks as badly identified or not "
        "isolated, by the thresholds of QUALITY",
    )
    overlap_dr: Annotated[float, Field(ge=0)] = Field(
        default=0.0,
        description="jets closer than this to a selected electron, muon or photon, and photons "
        "closer than this to a selected electron, are the same energy and left out",
    )
    transverse_energy: TransverseEnergy = "invariant"
    rapidity_scale: Annotated[float, Field(gt=0)] = Field(
        default=0.15, description="factor on all cells below the diagonal"
    )
    blinded: tuple[tuple[str, str], ...] = Field(
        default=STANDARD_BLINDING, description="pairs of objects whose invariant mass is left out"
    )

    @model_validator(mode="after")
    def _pairs_exist(self) -> Self:
        for pair in self.blinded:
            first, second = (position(self, name) for name in pair)
            if first == second:
                raise ValueError(f"{pair[0]} with itself has no invariant mass to be blinded")
        return self

    @property
    def maxima(self) -> tuple[int, int, int, int, int]:
        """Largest number of objects by type, in the order of `OBJECTS`."""
        return (self.light_jets, self.b_jets, self.muons, self.electrons, self.photons)

    @property
    def size(self) -> int:
        """Rows (and columns) of the matrix: all objects, and missing energy before them."""
        return 1 + sum(self.maxima)


def parse_object(name: str) -> tuple[int, int]:
    """Return the type (index into `OBJECTS`) and the rank (from 1) of an object such as ``"b2"``.

    Raises:
        ValueError: if the name is none of an object.
    """
    match = re.fullmatch(rf"({'|'.join(OBJECTS)})([1-9]\d{{0,2}})", name)
    if match is None:
        raise ValueError(
            f"{name!r} is no object; objects are called {', '.join(f'{kind}1' for kind in OBJECTS)}"
            " and so on, by falling pT"
        )
    return OBJECTS.index(match[1]), int(match[2])


def position(config: RmmConfig, name: str) -> int:
    """Return the row (and column) of an object such as ``"b2"`` in the matrix; ``"met"`` has 0.

    Raises:
        ValueError: if the matrix has no such object.

    >>> position(RmmConfig(), "b2")
    12
    """
    if name == "met":
        return 0
    kind, rank = parse_object(name)
    if rank > config.maxima[kind]:
        raise ValueError(
            f"the matrix has no object {name!r}; it has {config.maxima[kind]} of this type"
        )
    return 1 + sum(config.maxima[:kind]) + rank - 1

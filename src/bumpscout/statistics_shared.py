"""What `fit`, `bumphunt` and `limits` share: options of a spectrum, reading it, records, notes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict

from bumpscout.statistics_files import Reading
from bumpscout_tools.errors import InputDataError

if TYPE_CHECKING:
    from bumpscout_tools.background.report import FitReport
    from bumpscout_tools.background.spectrum import Spectrum

__all__ = ["FitSummary", "Progressing", "SpectrumOptions", "read_part"]

Progressing = Callable[[str, str, int | None, int | None], None]
"""Stage, message, units done and all units, as `bumpscout.console.Progress` takes them."""


class SpectrumOptions(BaseModel):
    """Which background is fitted to which part of a spectrum; masses in GeV.

    Attributes:
        exclude: ranges whose bins take no part.
        window_bins: of a sliding window; None for half of the bins.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = "auto"
    sqrt_s_gev: float = 13000.0
    min_gev: float | None = None
    max_gev: float | None = None
    exclude: tuple[tuple[float, float], ...] = ()
    window_bins: int | None = None
    seed: int = 0


class FitSummary(BaseModel):
    """The background fit under a hunt or a limit, and whether it may be believed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    deviance: float
    ndf: int
    p_value: float
    p_method: str
    believable: bool
    reasons: tuple[str, ...]

    @classmethod
    def of(cls, report: FitReport) -> FitSummary:
        """Take from a full report what a summary holds."""
        return cls(**{name: getattr(report, name) for name in FitSummary.model_fields})


def read_part(reading: Reading, options: SpectrumOptions, counts_for: str = "") -> Spectrum:
    """Return the part of a spectrum that the options choose.

    Args:
        reading: the file.
        options: range and exclusions.
        counts_for: what needs counts of events, as "a hunt"; weighted events are then refused.

    Raises:
        ConfigurationError: a range or exclusions that leave fewer than five bins.
        InputDataError: no spectrum, no events in what is left, or weights where counts are needed.
    """
    part = reading.spectrum().between(options.min_gev, options.max_gev).without(options.exclude)
    if not np.any(part.counts > 0):
        where = " outside of the excluded ranges" if options.exclude else ""
        raise InputDataError(
            f"{reading.path} holds no events between {part.edges[0]:g} and {part.edges[-1]:g} GeV"
            f"{where}."
        )
    if counts_for and part.weighted:
        raise InputDataError(
            f"{reading.path} holds weighted events, of which no Poisson probability can be given: "
            f"{counts_for} needs the unweighted counts. Such a spectrum can be fitted with "
            "`bumpscout fit`."
        )
    return part

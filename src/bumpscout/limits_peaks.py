"""The hypotheses of `limits`: masses and widths, as far as the spectrum can see them."""

from __future__ import annotations

import numpy as np

from bumpscout.limits_report import Limiting
from bumpscout_tools.background.spectrum import Spectrum
from bumpscout_tools.errors import ConfigurationError
from bumpscout_tools.inference import PeakGrid, peak_grid

__all__ = ["hypotheses"]

_LEAST_STEP = 0.01
_MAX_DEFAULT_MASSES = 300
_LEAST_INSIDE = 0.5
_MAX_HYPOTHESES = 5000


def hypotheses(spectrum: Spectrum, options: Limiting) -> tuple[PeakGrid, list[str]]:
    """Return the peaks to be fitted, and a note on those that were left out.

    Raises:
        ConfigurationError: masses that are no scan, or peaks outside the spectrum.
    """
    low, high = float(spectrum.edges[0]), float(spectrum.edges[-1])
    notes: list[str] = []
    if options.masses is None:
        # One resolution apart: a narrow peak between two masses is seen by both.
        step = max(options.resolution, _LEAST_STEP)
        first, last = low * (1.0 + 2.0 * step), high / (1.0 + 2.0 * step)
        number = int(np.log(last / first) / step) + 1 if last > first else 1
        if number > _MAX_DEFAULT_MASSES:
            step *= number / _MAX_DEFAULT_MASSES
            notes.append(
                f"the masses are {100 * step:.2g}% apart, more than a resolution: give --masses "
                "for a denser scan"
            )
        masses = first * np.exp(step * np.arange(min(number, _MAX_DEFAULT_MASSES)))
    else:
        first, last, step = options.masses
        if not (0 < first <= last and step > 0 and (last - first) / step < _MAX_HYPOTHESES):
            raise ConfigurationError(
                f"Masses from {first:g} to {last:g} GeV in steps of {step:g} are no scan: give a "
                f"rising range, with a step that makes at most {_MAX_HYPOTHESES} masses."
            )
        masses = first + step * np.arange(int(np.floor((last - first) / step + 1e-9)) + 1)
    widths = [width / 100.0 for width in dict.fromkeys(options.widths)]
    everything = peak_grid(masses, widths, options.resolution)
    used = spectrum.used
    inside = everything.templates(spectrum.edges)[:, used].sum(axis=1) >= _LEAST_INSIDE
    where = "the spectrum" if spectrum.excluded is None else "the spectrum that is left"
    if not inside.any():
        raise ConfigurationError(
            f"No signal lies inside {where}, {low:g} to {high:g} GeV: choose other masses."
        )
    if not inside.all():
        notes.append(
            f"{np.count_nonzero(~inside)} of {inside.size} hypotheses lie by more than half "
            f"outside {where} and were left out"
        )
    kept = PeakGrid(
        everything.mass_gev[inside], everything.width[inside], everything.sigma_gev[inside]
    )
    return kept, notes

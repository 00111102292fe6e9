"""Backgrounds on the bins of a spectrum that are left when some are excluded.

Excluded bins (a blinded signal region, a veto) take no part: fits, toys and hunts run on the bins
that are left, one beside the other, so that nothing that is done there can look at what is hidden.
Each bin keeps the mass and the width that it has in the whole spectrum.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bumpscout_tools.background.choice import ChoiceTest
from bumpscout_tools.background.models import FittedBatch, Model, make_model
from bumpscout_tools.background.part import PartBasis
from bumpscout_tools.background.sliding import SlidingFit
from bumpscout_tools.background.spectrum import Spectrum
from bumpscout_tools.errors import FitError
from bumpscout_tools.statistics.windows import WindowSet

__all__ = ["background_everywhere", "model_of_used_bins", "windows_of_used_bins"]

FloatArray = NDArray[np.float64]


def model_of_used_bins(
    name: str,
    spectrum: Spectrum,
    sqrt_s_gev: float = 13000.0,
    *,
    alpha: float = 0.05,
    test: ChoiceTest = "lr",
    window_bins: int | None = None,
) -> Model:
    """Return the background of a name on the bins of a spectrum that are not excluded.

    The arguments and errors are those of `make_model`, which this is where nothing is excluded.
    The model takes counts (t, k) and gives means (t, k) for the k bins that are left.

    Raises:
        FitError: too few bins left for the parameters.
    """
    hidden = Spectrum(spectrum.edges, spectrum.counts, spectrum.expected, spectrum.variances)
    model = make_model(name, hidden, sqrt_s_gev, alpha=alpha, test=test, window_bins=window_bins)
    if spectrum.excluded is None:
        return model
    used = spectrum.used
    if model.sliding is not None:
        sliding = SlidingFit(
            spectrum.edges,
            sqrt_s_gev,
            model.sliding.order,
            window_bins,
            weight=1.0 / spectrum.scales(),
            excluded=spectrum.excluded,
        )
        return Model(name, sliding=sliding)
    if model.basis is not None:
        orders = tuple(order for order in model.orders if order < used.size - 1)
        if not orders:
            raise FitError(
                f"{used.size} bins are left outside of the excluded ranges, too few for "
                f"{model.orders[0]} parameters: exclude less."
            )
        return Model(
            name,
            basis=PartBasis(model.basis, used, orders[-1]),
            orders=orders,
            alpha=model.alpha,
            test=model.test,
        )
    fixed = model.fit(np.atleast_2d(hidden.observed)).expected[0]
    return Model(name, fixed=fixed[used])


def background_everywhere(spectrum: Spectrum, model: Model, fitted: FittedBatch) -> FloatArray:
    """Return the background (b,) of one fitted spectrum in all bins, the excluded ones included.

    Args:
        spectrum: what was fitted.
        model: from `model_of_used_bins` on it.
        fitted: its fit to the counts of the spectrum, one row; units as in `Model`.
    """
    used = spectrum.used
    if used.size == spectrum.n_bins:
        alone: FloatArray = fitted.expected[0]
        return alone
    if isinstance(model.basis, PartBasis) and fitted.coefficients is not None:
        whole = model.basis.whole
        mu = whole.expected(fitted.coefficients[0, : fitted.order[0]])
    elif model.sliding is not None:
        mu = model.sliding.everywhere(spectrum.counts[used] / spectrum.scales()[used])
    elif spectrum.expected is not None:
        mu = spectrum.expected / spectrum.scales()
    else:
        mu = np.zeros(spectrum.n_bins)
    mu[used] = fitted.expected[0]
    return mu


def windows_of_used_bins(windows: WindowSet, spectrum: Spectrum) -> WindowSet:
    """Return the windows that touch no excluded bin, as windows of the bins that are left.

    Args:
        windows: of the whole spectrum.
        spectrum: with its excluded bins.
    """
    if spectrum.excluded is None:
        return windows
    left = np.append(0, np.cumsum(~spectrum.excluded)).astype(np.int64)
    whole = left[windows.stops] - left[windows.starts] == windows.stops - windows.starts
    starts, stops = left[windows.starts[whole]], left[windows.stops[whole]]
    return WindowSet(np.ascontiguousarray(starts), np.ascontiguousarray(stops))

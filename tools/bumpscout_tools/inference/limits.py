"""Upper limits on Gaussian signals by CLs, with expected bands, and expected discovery strengths.

    CLs(S) = p_(s+b) / p_b,    excluded where CLs < 0.05     (A. Read, J. Phys. G 28 (2002) 2693)

with the test statistic qtilde. Its distribution is the asymptotic one (arXiv:1007.1727, eq. 64-66;
the bands of sec. 4.3) or, where fewer than 5 background events are expected under a peak, that of
toys (`toy_limits`). A limit is on the nominal events of the whole peak; divided by luminosity and
efficiency, whose uncertainties are among the nuisances, it is one on the cross section.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from bumpscout_tools.errors import ConfigurationError
from bumpscout_tools.inference._roots import rising_roots
from bumpscout_tools.inference.fits import Nuisances, PeakModel
from bumpscout_tools.inference.likelihood import PeakLikelihood
from bumpscout_tools.inference.peaks import PeakGrid, background_under
from bumpscout_tools.inference.toy_limits import toy_limit

__all__ = [
    "BANDS",
    "NUISANCE_NAMES",
    "TOYS_BELOW_EVENTS",
    "PeakLimits",
    "cls_asymptotic",
    "nuisance_impacts",
    "peak_limits",
]

FloatArray = NDArray[np.float64]

BANDS = (-2, -1, 0, 1, 2)
"""Standard deviations of the expected limits."""
TOYS_BELOW_EVENTS = 5.0
"""Background events under a peak below which toys replace the asymptotic formulae."""
NUISANCE_NAMES = ("luminosity", "efficiency", "mass_scale", "resolution", "spurious_signal")

LimitMethod = Literal["asymptotic", "toys"]


@dataclass(frozen=True, slots=True)
class PeakLimits:
    """Upper limits of one spectrum, in events of the whole peak; arrays in the order of `peaks`.

    `observed` (h,), `expected` (h, 5) at -2..2 standard deviations, `discovery_3` and `discovery_5`
    (h,) the signals whose median significance is 3 and 5 sigma, `background` (h,) the events under
    each peak, `method` of each limit, `converged` (h,) of the fits to the data.
    """

    peaks: PeakGrid
    level: float
    observed: FloatArray
    expected: FloatArray
    discovery_3: FloatArray
    discovery_5: FloatArray
    background: FloatArray
    method: tuple[LimitMethod, ...]
    converged: NDArray[np.bool_]

    @staticmethod
    def pb_per_event(luminosity_fb: float, efficiency: float) -> float:
        """Return the factor from events to pb: 1 / (1000 L efficiency).

        Raises:
            ConfigurationError: a luminosity or an efficiency that is not above 0.
        """
        if not luminosity_fb > 0 or not 0 < efficiency <= 1:
            raise ConfigurationError(
                "A cross section needs a luminosity above 0 (in 1/fb) and an efficiency above 0 "
                f"and at most 1, not {luminosity_fb} and {efficiency}."
            )
        return 1.0 / (1000.0 * luminosity_fb * efficiency)


def cls_asymptotic(q: ArrayLike, q_asimov: ArrayLike) -> FloatArray:
    """Return CLs from qtilde of the data and of background-only Asimov data, elementwise.

    arXiv:1007.1727, eq. 64-66 with sigma = S / sqrt(q_asimov).
    """
    observed = np.asarray(q, dtype=np.float64)
    asimov = np.maximum(np.asarray(q_asimov, dtype=np.float64), 1e-300)
    root, root_a = np.sqrt(observed), np.sqrt(asimov)
    beyond = observed > asimov
    with_signal = np.where(beyond, (observed + asimov) / (2.0 * root_a), root)
    without = np.where(beyond, (observed - asimov) / (2.0 * root_a), root - root_a)
    ratio: FloatArray = np.exp(special.log_ndtr(-with_signal) - special.log_ndtr(-without))
    return ratio


def _expected(likelihood: PeakLikelihood, asimov: FloatArray, alpha: float) -> FloatArray:
    """Return the expected limits (h, 5): sqrt(q_A(S)) = N + Phi^-1(1 - alpha Phi(N))."""
    scale = np.maximum(_error(likelihood), 1e-300)
    out = np.empty((scale.size, len(BANDS)))
    for at, band in enumerate(BANDS):
        needed = band - float(special.ndtri(alpha * float(special.ndtr(band))))

        def short(signal: FloatArray, needed: float = needed) -> FloatArray:
            return np.sqrt(likelihood.q_asimov(signal, asimov)) - needed

        out[:, at] = rising_roots(short, np.zeros(scale.size), needed * scale)
    return out


def _error(likelihood: PeakLikelihood) -> FloatArray:
    """Return a finite scale of the signal's error, events (h,)."""
    error = likelihood.free.error
    return np.where(np.isfinite(error) & (error > 0), error, 1.0)


def _observed(likelihood: PeakLikelihood, asimov: FloatArray, alpha: float) -> FloatArray:
    best = np.maximum(likelihood.free.signal, 0.0)

    def excluded(signal: FloatArray) -> FloatArray:
        cls = cls_asymptotic(likelihood.q_tilde(signal), likelihood.q_asimov(signal, asimov))
        return math.log(alpha) - np.log(np.maximum(cls, 1e-300))

    return rising_roots(excluded, best, best + 2.0 * _error(likelihood))


def _discovery(likelihood: PeakLikelihood, sigmas: float) -> FloatArray:
    def short(signal: FloatArray) -> FloatArray:
        return np.sqrt(likelihood.q0_asimov(signal)) - sigmas

    scale = _error(likelihood)
    return rising_roots(short, np.zeros(scale.size), sigmas * scale)


def peak_limits(
    counts: ArrayLike,
    model: PeakModel,
    level: float = 0.95,
    *,
    rng: np.random.Generator | None = None,
    n_toys: int = 1000,
    progress: Callable[[int, int], None] | None = None,
) -> PeakLimits:
    """Set upper limits on every peak of a model.

    Args:
        counts: (b,) events.
        model: background, peaks and nuisances.
        level: confidence level.
        rng: random numbers for the toys; None uses the asymptotic formulae everywhere.
        n_toys: toys of each of the two hypotheses.
        progress: called with limits from toys that are done and all of them.

    Raises:
        InputDataError: counts that do not belong to the bins.
        FitError: a spectrum without events, or a peak outside the bins.
        ConfigurationError: a level outside 0.5..1.
    """
    if not 0.5 <= level < 1:
        raise ConfigurationError(f"A confidence level lies between 0.5 and 1, not {level}.")
    alpha = 1.0 - level
    likelihood = PeakLikelihood.of(model, counts)
    asimov = likelihood.null_means()
    expected = _expected(likelihood, asimov, alpha)
    observed = _observed(likelihood, asimov, alpha)
    under = background_under(model.templates(), model.background(counts).expected[0])
    method: list[LimitMethod] = ["asymptotic"] * model.peaks.size
    if rng is not None:
        few = np.flatnonzero(under < TOYS_BELOW_EVENTS)
        for done, h in enumerate(few, start=1):
            observed[h], expected[h] = toy_limit(
                rng, likelihood, int(h), alpha, observed[h], expected[h], n_toys
            )
            method[h] = "toys"
            if progress is not None:
                progress(done, few.size)
    return PeakLimits(
        peaks=model.peaks,
        level=level,
        observed=observed,
        expected=expected,
        discovery_3=_discovery(likelihood, 3.0),
        discovery_5=_discovery(likelihood, 5.0),
        background=under,
        method=tuple(method),
        converged=likelihood.null.converged & likelihood.free.converged,
    )


def nuisance_impacts(
    counts: ArrayLike, model: PeakModel, names: Sequence[str] = NUISANCE_NAMES, level: float = 0.95
) -> dict[str, FloatArray]:
    """Return by how much each nuisance raises the median expected limit, (h,) relative.

    1 - L(without it) / L(all); names that are switched off are left out.

    Raises:
        ConfigurationError: a name that is no nuisance.
    """
    unknown = set(names) - set(NUISANCE_NAMES)
    if unknown:
        raise ConfigurationError(
            f"There is no nuisance {sorted(unknown)[0]!r}: choose among "
            f"{', '.join(NUISANCE_NAMES)}."
        )

    def median(nuisances: Nuisances) -> FloatArray:
        likelihood = PeakLikelihood.of(
            PeakModel(model.basis, model.order, model.peaks, nuisances), counts
        )
        return _expected(likelihood, likelihood.null_means(), 1.0 - level)[:, 2]

    everything = median(model.nuisances)
    out: dict[str, FloatArray] = {}
    for name in names:
        if np.any(np.asarray(getattr(model.nuisances, name)) > 0):
            out[name] = 1.0 - median(model.nuisances.model_copy(update={name: 0.0})) / everything
    return out

"""QUAK: events that are like a simulated signal and unlike the data beside the window."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from bumpscout_tools.detectors.anode import DensityRatio
from bumpscout_tools.detectors.protocol import Progress, Stop
from bumpscout_tools.detectors.settings_density import QuakSettings
from bumpscout_tools.detectors.sidebands import fit_outside, inside_window, watched
from bumpscout_tools.errors import DetectorError

__all__ = ["Quak"]

FloatArray = npt.NDArray[np.float64]

_ROUNDS = 300


@dataclass(frozen=True)
class Quak:
    """``log sum_k w_k p_k(x) - log p_B(x | m)`` (Park et al., arXiv:2011.03550).

    QUAK places events in a plane (or space) of losses: of the background, and of each signal
    hypothesis k. Here the losses are -log of densities: p_B of the data outside the window,
    interpolated into it, and p_k of simulated signal events. Anomalous is what has a high loss of
    the background and a low one of some hypothesis; the ratio of a mean of all p_k to p_B orders
    the space by a single number. The events of the window decide how much each hypothesis counts
    in it: the weights maximise the likelihood of ``sum_k w_k p_k + (1 - sum_k w_k) p_B`` (`weights:
    fitted`), so that hypotheses of which the data show nothing do not fill the selection with the
    rare background that looks like them.

    Of a hypothesis only the features matter, not the mass of its resonance: its events are placed
    at masses spread evenly over the window. They are smeared by `broaden`, so that a signal beside
    the hypotheses is found as well.
    """

    settings: QuakSettings = field(default_factory=QuakSettings)
    uses_window: ClassVar[bool] = True

    @property
    def folds(self) -> int:
        """Folds of cross-fitting."""
        return self.settings.folds

    def fit(
        self,
        features: FloatArray,
        mass: FloatArray,
        window_gev: tuple[float, float] | None,
        seed: int,
        *,
        stop: Stop | None = None,
        progress: Progress | None = None,
    ) -> DensityRatio:
        """Fit the density outside the window and those of the priors; see `Detector.fit`.

        Raises:
            DetectorError: if there are no priors or other features in them, no or too few events
                outside the window, or a training fails.
            TrainingStopped: if `stop` said so.
        """
        from bumpscout_tools.detectors.density import log_ratio

        chosen = self.settings
        if not chosen.priors or not all(prior.rows for prior in chosen.priors):
            raise DetectorError(
                "QUAK needs simulated signal events: name their files in its settings (`files`)."
            )
        width = len(chosen.priors[0].features)
        if width != features.shape[1]:
            raise DetectorError(
                f"The priors of QUAK hold {width} features and the detector uses "
                f"{features.shape[1]}; read them again for the features of the plan."
            )
        inside = inside_window("QUAK", mass, window_gev, 0)
        background = fit_outside(
            features,
            mass,
            inside,
            degree=chosen.degree,
            steps=chosen.steps,
            seed=seed,
            stop=stop,
            progress=progress,
        )
        low, high = window_gev or (0.0, 0.0)
        found = []
        for number, prior in enumerate(chosen.priors):
            values = prior.values()
            rng = np.random.default_rng((seed, 2, number))
            found.append(
                background.refit(
                    values,
                    rng.uniform(low, high, len(values)),
                    seed=int(rng.integers(2**62)),
                    degree=0,
                    steps=chosen.signal_steps,
                    smear=chosen.broaden,
                    threads=1,
                    progress=watched(stop, progress),
                )
            )
        weights = None
        if chosen.weights == "fitted":
            rows = features[inside], mass[inside]
            weights = _mixture_weights(
                np.array([log_ratio([one], background, *rows) for one in found])
            )
        return DensityRatio(tuple(found), background, weights)


def _mixture_weights(log_ratios: FloatArray) -> FloatArray:
    """Return the maximum-likelihood shares (k,) of k components, by expectation maximisation.

    Each component and the background are given one event more than there are, so that no share is
    zero, and all are equal without events.

    Args:
        log_ratios: (k, n) log p_k / p_B of the events.
    """
    ratios = np.exp(log_ratios)
    k, n = ratios.shape
    shares = np.full(k, 1.0 / (n + k + 1))
    for _ in range(_ROUNDS):
        background = 1.0 - shares.sum()
        found = shares * (ratios / (background + shares @ ratios)).sum(axis=1)
        shares = (found + 1.0) / (n + k + 1)
    return shares

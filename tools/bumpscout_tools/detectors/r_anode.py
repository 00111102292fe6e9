"""R-ANODE: the density of what is mixed into the background of a signal window."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from bumpscout_tools.detectors.anode import MIN_WINDOW_EVENTS, DensityRatio
from bumpscout_tools.detectors.protocol import Progress, Stop
from bumpscout_tools.detectors.settings_density import RAnodeSettings
from bumpscout_tools.detectors.sidebands import fit_outside, inside_window, watched

__all__ = ["RAnode"]

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RAnode:
    """``log p_S(x) - log p_B(x | m)``, p_S of maximum likelihood (Das et al., arXiv:2312.11629).

    The density p_B outside the window is interpolated into it and held fixed. The events inside are
    ``w p_S + (1 - w) p_B``, and p_S and w are fitted to them by maximum likelihood, so that all
    that is known about the background helps, and a network describes the small signal alone. The
    early stop is decided by held-out events of the window; `trainings` with other held-out events
    are averaged. Given the mass nothing of its distribution is needed: signal and background are
    taken to have that of the data in the window.
    """

    settings: RAnodeSettings = field(default_factory=RAnodeSettings)
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
        """Fit the density outside, then what is mixed into it inside; see `Detector.fit`.

        Raises:
            DetectorError: if there are too few events inside or outside the window, or a training
                fails.
            TrainingStopped: if `stop` said so.
        """
        inside = inside_window("R-ANODE", mass, window_gev, MIN_WINDOW_EVENTS)
        chosen = self.settings
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
        seeds = np.random.SeedSequence((seed, 2)).generate_state(chosen.trainings)
        found = tuple(
            background.component(
                features[inside],
                mass[inside],
                seed=int(own),
                steps=chosen.signal_steps,
                threads=1,
                progress=watched(stop, progress),
            )[0]
            for own in seeds
        )
        return DensityRatio(found, background)

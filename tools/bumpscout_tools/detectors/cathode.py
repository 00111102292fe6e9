"""CATHODE and LaCATHODE: a background template from the side bands, and a classifier against it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from bumpscout_tools.detectors.classifier import TrainedClassifier, train_classifier
from bumpscout_tools.detectors.protocol import Progress, Stop
from bumpscout_tools.detectors.settings import CathodeSettings
from bumpscout_tools.detectors.sidebands import fit_outside, inside_window
from bumpscout_tools.errors import DetectorError

if TYPE_CHECKING:
    from bumpscout_tools.detectors.density import ConditionalDensity

__all__ = ["Cathode"]

FloatArray = npt.NDArray[np.float64]
MIN_WINDOW_EVENTS = 20


@dataclass(frozen=True)
class Cathode:
    """A classifier that tells the events of a signal window from background made for it.

    The density of the features given the mass is fitted to all events outside the window; it is
    interpolated into the window and sampled at the masses of the events there, `oversample` times;
    a classifier learns data against these samples (arXiv:2109.00546). Features may depend on the
    mass, as long as they do so smoothly. Here the density is `detectors.density`'s, whose
    parameters are polynomials of `degree` in the logarithm of the mass, and the classifier that of
    `train_classifier`.

    With `latent` the classifier works in the latent space of the density (LaCATHODE,
    arXiv:2210.14924), where the background is the same at each mass, so that a cut does not sculpt
    its spectrum.
    """

    settings: CathodeSettings = field(default_factory=CathodeSettings)
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
    ) -> TrainedCathode:
        """Fit the density outside the window, and the classifier inside; see `Detector.fit`.

        Raises:
            DetectorError: if there are too few events inside or outside the window.
            TrainingStopped: if `stop` said so.
        """
        inside = inside_window("CATHODE", mass, window_gev, MIN_WINDOW_EVENTS)
        n = int(inside.sum())
        density = fit_outside(
            features,
            mass,
            inside,
            degree=self.settings.degree,
            steps=self.settings.steps,
            seed=seed,
            stop=stop,
            progress=progress,
        )
        copies = self.settings.oversample
        at = np.tile(mass[inside], copies)
        template = density.sample(at, np.random.default_rng((seed, 1)))
        data = features[inside]
        if self.settings.latent:
            data, template = density.latent(data, mass[inside]), density.latent(template, at)
        if not np.isfinite(template).all():
            raise DetectorError(
                "The density fitted outside the window gives values that are not finite inside; "
                "check the ranges of the features."
            )
        classifier = train_classifier(
            np.concatenate([data, template]),
            np.repeat([True, False], [n, len(at)]),
            np.repeat([1.0, 1.0 / copies], [n, len(at)]),
            self.settings,
            seed,
            stop=stop,
        )
        return TrainedCathode(classifier, density if self.settings.latent else None)


@dataclass(frozen=True)
class TrainedCathode:
    """The classifier, and the density where it works in the latent space."""

    classifier: TrainedClassifier
    density: ConditionalDensity | None

    def score(self, features: FloatArray, mass: FloatArray) -> FloatArray:
        """Return the classifier's score (n,); the mass (n,) in GeV matters in the latent space."""
        if self.density is not None:
            features = self.density.latent(features, mass)
        return self.classifier.score(features)

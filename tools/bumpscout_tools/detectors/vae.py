"""Variational autoencoder on constituents: jets that a small latent space cannot describe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from bumpscout_tools.detectors.protocol import Progress, Stop
from bumpscout_tools.detectors.settings_vae import VaeSettings
from bumpscout_tools.errors import DetectorError

if TYPE_CHECKING:
    from bumpscout_tools.detectors.vae_training import TrainedVae

__all__ = ["VaeDetector"]

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
MIN_EVENTS = 500
JETS, AXES = 2, 3


@dataclass(frozen=True)
class VaeDetector:
    """A VAE of jets as sets of particles (arXiv:2412.03747, arXiv:1312.6114); no window, no mass.

    A jet's score is its Chamfer distance from the reconstruction plus the divergence of the latent
    space; that of an event is the smaller one of its two jets (or `combine`): both daughters
    of a resonance may be unusual, while unusual jets of QCD rarely come in pairs. It ranks jets
    with more substructure than typical ones, whatever made them. Without a control sample
    it learns from the events of the other folds, which hold the signal too; a VAE that learned to
    reconstruct a frequent signal is blind to it.
    """

    settings: VaeSettings = field(default_factory=VaeSettings)
    control_column: int | None = None
    uses_window: ClassVar[bool] = False

    @property
    def folds(self) -> int:
        """Folds of cross-fitting."""
        return self.settings.folds

    def named(self, features: Sequence[str]) -> VaeDetector:
        """Return the detector that knows which column defines its control sample.

        Raises:
            DetectorError: if that feature is none of its features.
        """
        name = self.settings.control_feature
        if name is None:
            return self
        if name not in features:
            raise DetectorError(
                f"The control sample is defined by {name!r}, which is none of the detector's "
                f"features. Add it: `features: [constituents, {name}]`."
            )
        return replace(self, control_column=list(features).index(name))

    def control_rows(self, features: FloatArray | Float32Array) -> BoolArray | None:
        """Return which rows (n,) of (n, k) features are the control sample; None without one."""
        if self.settings.control_feature is None:
            return None
        if self.control_column is None:
            raise DetectorError(
                f"The column of {self.settings.control_feature!r} is not known; give the names of "
                "the features with `VaeDetector.named`."
            )
        values = features[:, self.control_column]
        low, high = self.settings.control_min, self.settings.control_max
        inside = np.ones(len(values), dtype=bool)
        if low is not None:
            inside &= values >= low
        if high is not None:
            inside &= values < high
        return inside

    def fit(
        self,
        features: FloatArray,
        mass: FloatArray,
        window_gev: tuple[float, float] | None,
        seed: int,
        *,
        stop: Stop | None = None,
        progress: Progress | None = None,
    ) -> TrainedVae:
        """Train on the rows, or on the control sample among them; see `Detector.fit`.

        A tenth of them decides when to stop.

        Args:
            features: (n, 2 * 3 * c), c constituents of two jets as `constituents_of` has them, and
                the column that defines the control sample where there is one.
            mass: not used.
            window_gev: not used.
            seed: the same seed gives the same scores.
            stop: asked before each epoch.
            progress: told about epochs.

        Raises:
            DetectorError: if the features are not constituents, there are too few events, the loss
                is not finite, the latent space collapsed, nothing was learned, or the device is
                not there.
            TrainingStopped: if `stop` said so.
        """
        del mass, window_gev
        self._check_columns(features.shape[1])
        control = self.control_rows(features)
        if control is not None:
            features = features[control]
        if len(features) < MIN_EVENTS:
            where = "" if control is None else " in its control sample"
            raise DetectorError(
                f"A variational autoencoder needs at least {MIN_EVENTS} events to learn from, not "
                f"{len(features)}{where}. Use fewer folds, a larger training share, or a wider "
                "control sample."
            )
        # torch takes a second and 200 MB to import: only where something is trained.
        from bumpscout_tools.detectors.vae_training import train

        return train(
            features, self.settings, seed, skipped=self.control_column, stop=stop, progress=progress
        )

    def _check_columns(self, columns: int) -> None:
        inputs = columns - (self.settings.control_feature is not None)
        if inputs < JETS * AXES or inputs % (JETS * AXES):
            extra = ", and its control_feature" if self.settings.control_feature else ""
            raise DetectorError(
                f"A variational autoencoder reads px, py, pz of the constituents of two jets, and "
                f"{inputs} inputs are not that. Give it `features: [constituents]`{extra}."
            )

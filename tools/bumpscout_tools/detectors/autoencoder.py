"""Dense autoencoder: events that a narrow code cannot describe are anomalous."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from bumpscout_tools.detectors.protocol import Progress, Stop
from bumpscout_tools.detectors.settings import AutoencoderSettings
from bumpscout_tools.errors import DetectorError

if TYPE_CHECKING:
    from bumpscout_tools.detectors.autoencoder_training import TrainedAutoencoder

__all__ = ["AutoencoderDetector"]

FloatArray = npt.NDArray[np.float64]
MIN_EVENTS = 200


@dataclass(frozen=True)
class AutoencoderDetector:
    """A network that squeezes an event through a narrow layer; no window, no labels, no mass.

    The score is ln(mean absolute error) (or squared error) of the reconstruction. It ranks what is
    rare and complicated, whatever its mass; it is blind to anomalies that are simpler than typical
    events (arXiv:2104.08291), and where features follow the mass it follows them. With `preset:
    rmm` it is the network of the ATLAS search in the rapidity-mass matrix (PRL 132 (2024) 081801).
    """

    settings: AutoencoderSettings = field(default_factory=AutoencoderSettings)
    uses_window: ClassVar[bool] = False

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
    ) -> TrainedAutoencoder:
        """Train on the rows, a tenth of which decides when to stop; see `Detector.fit`.

        Raises:
            DetectorError: if there are too few events, the latent space is no narrower than the
                inputs, the loss is not finite, the latent space collapsed, or the device is not
                there.
            TrainingStopped: if `stop` said so.
        """
        del mass, window_gev
        n, inputs = features.shape
        if n < MIN_EVENTS:
            raise DetectorError(
                f"An autoencoder needs at least {MIN_EVENTS} events to learn from, not {n}. Use "
                "fewer folds or a larger training share."
            )
        if self.settings.hidden[-1] >= inputs:
            raise DetectorError(
                f"A latent space of {self.settings.hidden[-1]} is no narrower than the {inputs} "
                "inputs, so that every event could be copied; make the last of `hidden` smaller "
                "or use more features."
            )
        # torch takes a second and 200 MB to import: only where something is trained.
        from bumpscout_tools.detectors.autoencoder_training import train

        return train(features, self.settings, seed, stop=stop, progress=progress)

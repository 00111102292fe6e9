"""A score that the file already holds, used as it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from bumpscout_tools.detectors.protocol import Progress, Stop
from bumpscout_tools.detectors.settings import ColumnSettings
from bumpscout_tools.errors import DetectorError

__all__ = ["ColumnScore"]

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ColumnScore:
    """The one feature of the plan as score: nothing is trained here.

    Whoever made the column must not have trained on the events that are scanned; no code can check
    that afterwards.
    """

    settings: ColumnSettings = field(default_factory=ColumnSettings)
    uses_window: ClassVar[bool] = False

    @property
    def folds(self) -> int:
        """Nothing is trained, so nothing is split."""
        return 1

    def fit(
        self,
        features: FloatArray,
        mass: FloatArray,
        window_gev: tuple[float, float] | None,
        seed: int,
        *,
        stop: Stop | None = None,
        progress: Progress | None = None,
    ) -> ColumnScore:
        """Return itself.

        Raises:
            DetectorError: unless there is exactly one column.
        """
        del mass, window_gev, seed, stop, progress
        self._check(features)
        return self

    def score(self, features: FloatArray, mass: FloatArray) -> FloatArray:
        """Return the column (n,) of (n, 1), its sign turned where low values are anomalous."""
        del mass
        self._check(features)
        column = np.asarray(features[:, 0], dtype=np.float64)
        return column if self.settings.anomalous == "high" else -column

    def _check(self, features: FloatArray) -> None:
        if features.shape[1] != 1:
            raise DetectorError(
                f"The detector 'column' takes one feature, the score, not {features.shape[1]}; "
                "name the column of the file as the only feature of the detector."
            )

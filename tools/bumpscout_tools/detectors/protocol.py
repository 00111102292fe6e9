"""What a detector is: `fit` on the events that it may see, `score` on any event."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from bumpscout_tools.errors import TrainingStopped

__all__ = ["Detector", "Fitted", "NeedsNames", "Progress", "Stop", "check_stop"]

FloatArray = npt.NDArray[np.float64]
Window = tuple[float, float]
Progress = Callable[[int, int], None]
"""Called with (steps done, steps at most)."""
Stop = Callable[[], bool]
"""Asked between steps; True ends the training with `TrainingStopped`."""


class Fitted(Protocol):
    """A trained detector."""

    def score(self, features: FloatArray, mass: FloatArray) -> FloatArray:
        """Score events; higher is more anomalous.

        Args:
            features: (n, k) inputs, as in the training.
            mass: (n,) GeV, for detectors that take a dependence on the mass out of the features.

        Returns:
            (n,) finite scores.
        """
        ...


class Detector(Protocol):
    """A detector before training: settings alone, no state."""

    uses_window: ClassVar[bool]
    """Whether it is trained anew for each signal window, or knows nothing of windows."""

    @property
    def folds(self) -> int:
        """Folds of cross-fitting; 1 for what is never trained."""
        ...

    def fit(
        self,
        features: FloatArray,
        mass: FloatArray,
        window_gev: Window | None,
        seed: int,
        *,
        stop: Stop | None = None,
        progress: Progress | None = None,
    ) -> Fitted:
        """Train on all rows given, which must hold nothing that will be scored.

        Args:
            features: (n, k) inputs; the mass is none of them.
            mass: (n,) GeV, used by what needs a window.
            window_gev: signal window (low, high); None where `uses_window` is False.
            seed: the same seed gives the same scores.
            stop: asked between steps.
            progress: told about steps.

        Raises:
            DetectorError: if it cannot be trained on these rows, or the training failed.
            TrainingStopped: if `stop` said so.
        """
        ...


@runtime_checkable
class NeedsNames(Protocol):
    """A detector that treats features by what they are, so that it must know their names."""

    def named(self, features: Sequence[str]) -> Detector:
        """Return the detector for inputs of these names, in this order.

        Raises:
            DetectorError: if it cannot be trained on these features.
        """
        ...


def check_stop(stop: Stop | None) -> None:
    """End a training that is to stop.

    Raises:
        TrainingStopped: if `stop` says so.
    """
    if stop is not None and stop():
        raise TrainingStopped("The training was stopped before its end; it left no scores.")

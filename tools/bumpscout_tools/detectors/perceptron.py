"""Ensembles of small perceptrons (torch, imported only here) that tell two classes apart.

The members are trained side by side in one batched product, each with its own start and order of
the events, for a fixed number of epochs (a held-out loss says little about a rare excess): Adam in
small steps and small batches, and the exponential average of the weights at the end. All
randomness comes from one numpy generator, so torch's global state is neither read nor changed; one
thread is used, so that the scores depend on the seed alone.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from bumpscout_tools.detectors.gradient_descent import Layers, one_thread
from bumpscout_tools.detectors.protocol import Progress, Stop, check_stop
from bumpscout_tools.errors import DetectorError

if TYPE_CHECKING:
    from bumpscout_tools.detectors.classifier import ClassifierSettings

__all__ = ["PerceptronEnsemble", "train_perceptrons"]

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

RATE = 3e-4
AVERAGE = 0.999
BATCH = 128
MIN_BATCH = 32
MIN_STEPS = 500
"""Steps of an epoch: few events are taken in smaller batches."""
BLOCK = 8192
MAX_INPUT = 10.0
"""Standard deviations at which inputs are cut off, so that no single value rules a member."""


@dataclass(frozen=True)
class PerceptronEnsemble:
    """The members of one training.

    Attributes:
        centre: (k,) subtracted from the inputs.
        spread: (k,) by which they are divided then.
        layers: weight (members, in, out) and bias (members, 1, out) of each layer in turn.
    """

    centre: FloatArray
    spread: FloatArray
    layers: tuple[Float32Array, ...]

    def score(self, features: FloatArray) -> FloatArray:
        """Return the mean logit (n,) of the members for (n, k) features."""
        score = np.empty(len(features))
        with one_thread(), torch.no_grad():
            layers = [torch.from_numpy(layer) for layer in self.layers]
            members = len(self.layers[0])
            for start in range(0, len(features), BLOCK):
                rows = slice(start, start + BLOCK)
                inputs = _inputs(features[rows], self.centre, self.spread)
                logits = _logits(layers, inputs.expand(members, *inputs.shape))
                score[rows] = logits.double().mean(dim=0).numpy()
        return score


def train_perceptrons(
    features: FloatArray,
    positive: BoolArray,
    weight: FloatArray,
    settings: ClassifierSettings,
    seed: int,
    *,
    stop: Stop | None = None,
    progress: Progress | None = None,
) -> PerceptronEnsemble:
    """Train the members by weighted cross-entropy, in one thread.

    Args:
        features: (n, k) inputs.
        positive: (n,) True for the class that is to score high.
        weight: (n,) event weights.
        settings: of the perceptrons.
        seed: the same seed gives the same scores.
        stop: asked before each epoch.
        progress: told about epochs.

    Raises:
        DetectorError: if the loss is not finite.
        TrainingStopped: if `stop` said so.
    """
    rng = np.random.default_rng(seed)
    centre, spread = features.mean(axis=0), features.std(axis=0)
    spread = np.where(spread > 1e-12 * np.maximum(np.abs(centre), 1e-12), spread, 1.0)
    start = _initial((features.shape[1], *settings.hidden, 1), settings.networks, rng)
    with one_thread():
        data = _inputs(features, centre, spread)
        target = torch.from_numpy(positive.astype(np.float32))
        weights = torch.from_numpy((weight / weight.mean()).astype(np.float32))
        layers = [torch.from_numpy(layer).requires_grad_(True) for layer in start]
        kept = _descend(layers, data, target, weights, settings.epochs, rng, stop, progress)
    return PerceptronEnsemble(centre, spread, tuple(layer.numpy().copy() for layer in kept))


def _descend(
    layers: Layers,
    data: torch.Tensor,
    target: torch.Tensor,
    weights: torch.Tensor,
    epochs: int,
    rng: np.random.Generator,
    stop: Stop | None,
    progress: Progress | None,
) -> Layers:
    """Return the exponential average of the weights at the end."""
    n, members = len(data), len(layers[0])
    batch = min(n, int(np.clip(n // MIN_STEPS, MIN_BATCH, BATCH)))
    per_epoch = n // batch
    optimiser = torch.optim.Adam(layers, lr=RATE)
    average = [layer.detach().clone() for layer in layers]
    step = 0
    for epoch in range(epochs):
        check_stop(stop)
        order = torch.from_numpy(np.stack([rng.permutation(n) for _ in range(members)]))
        loss_sum = 0.0
        for i in range(per_epoch):
            rows = order[:, i * batch : (i + 1) * batch]
            logits = _logits(layers, data[rows])
            losses = functional.binary_cross_entropy_with_logits(
                logits, target[rows], weights[rows], reduction="none"
            )
            loss = losses.mean(dim=1).sum()
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            step += 1
            keep = min(AVERAGE, step / (step + 10))
            with torch.no_grad():
                for mean, now in zip(average, layers, strict=True):
                    mean.lerp_(now, 1 - keep)
            loss_sum += float(loss.detach())
        if not math.isfinite(loss_sum):
            raise DetectorError(
                f"The perceptrons' loss is {loss_sum} after epoch {epoch + 1}: the training "
                "diverged. Check the ranges of the features, or use classifier: trees."
            )
        if progress is not None:
            progress(epoch + 1, epochs)
    return average


def _logits(layers: Layers, inputs: torch.Tensor) -> torch.Tensor:
    """Return logits (members, n) of inputs (members, n, k)."""
    values = inputs
    for i in range(0, len(layers), 2):
        values = torch.baddbmm(layers[i + 1], values, layers[i])
        if i + 2 < len(layers):
            values = functional.relu(values)
    return values.squeeze(2)


def _initial(widths: tuple[int, ...], members: int, rng: np.random.Generator) -> list[Float32Array]:
    """Return normal weights of variance 2 / inputs (He et al., ICCV 2015), biases of zero."""
    start = []
    for inputs, outputs in itertools.pairwise(widths):
        gain = math.sqrt(2.0 / inputs) if outputs > 1 else math.sqrt(0.1 / inputs)
        start.append((gain * rng.standard_normal((members, inputs, outputs))).astype(np.float32))
        start.append(np.zeros((members, 1, outputs), np.float32))
    return start


def _inputs(features: FloatArray, centre: FloatArray, spread: FloatArray) -> torch.Tensor:
    scaled = np.clip((features - centre) / spread, -MAX_INPUT, MAX_INPUT)
    return torch.from_numpy(scaled.astype(np.float32))

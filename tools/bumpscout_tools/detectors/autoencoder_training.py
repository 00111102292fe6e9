"""Training of the dense autoencoder with torch, and what can go wrong; see `gradient_descent`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from bumpscout_tools.detectors.gradient_descent import (
    Layers,
    descend,
    device_of,
    mean_loss,
    one_thread,
)
from bumpscout_tools.detectors.protocol import Progress, Stop
from bumpscout_tools.detectors.settings import AutoencoderSettings
from bumpscout_tools.errors import DetectorError

__all__ = ["TrainedAutoencoder", "train"]

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]

HELD_OUT = 0.1
BLOCK = 8192
GPU_WEIGHTS = 300_000
"""`auto` takes a GPU from so many weights on: below, a CPU thread is as fast."""
MAX_RELATIVE_LOSS = 0.98
"""Held-out loss over that of the best constant, above which nothing was learned."""
MIN_LATENT_SPREAD = 1e-4
"""Largest spread of a latent, relative to its largest size, below which it says nothing."""
SMALLEST_LOSS = 1e-30

_ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "leaky-relu": functional.leaky_relu,
    "relu": functional.relu,
    "silu": functional.silu,
    "tanh": torch.tanh,
}
_GAINS = {"leaky-relu": 2 / math.sqrt(2 + 2e-4), "relu": math.sqrt(2), "silu": 1.4, "tanh": 5 / 3}


@dataclass(frozen=True)
class TrainedAutoencoder:
    """A trained autoencoder.

    Attributes:
        settings: of the training.
        centre: (k,) subtracted from the inputs.
        spread: (k,) by which they are divided then.
        layers: weight (out, in) and bias (out,) of each layer in turn.
        epochs: epochs of the training.
        relative_loss: held-out loss over that of the best constant.
    """

    settings: AutoencoderSettings
    centre: FloatArray
    spread: FloatArray
    layers: tuple[Float32Array, ...]
    epochs: int
    relative_loss: float

    def score(self, features: FloatArray, mass: FloatArray) -> FloatArray:
        """Return ln(loss) (n,) of the rows (n, k); the mass is not looked at."""
        del mass
        device = _device(self.settings, self.layers)
        score = np.empty(len(features))
        with one_thread(), torch.no_grad():
            layers = [torch.from_numpy(layer).to(device) for layer in self.layers]
            for start in range(0, len(features), BLOCK):
                rows = slice(start, start + BLOCK)
                inputs = _inputs(features[rows], self.centre, self.spread).to(device)
                loss = _losses(layers, inputs, self.settings).double().cpu().numpy()
                score[rows] = np.log(np.maximum(loss, SMALLEST_LOSS))
        if not np.isfinite(score).all():
            raise DetectorError(
                "The autoencoder reconstructs some events with a loss that is not finite; their "
                "inputs are probably beyond any scale. Check the ranges of the features."
            )
        return score

    def slopes(self, features: FloatArray) -> FloatArray:
        """Return the gradient (n, k) of the score at the rows (n, k)."""
        device = _device(self.settings, self.layers)
        with one_thread():
            layers = [torch.from_numpy(layer).to(device) for layer in self.layers]
            inputs = _inputs(features, self.centre, self.spread).to(device).requires_grad_(True)
            loss = _losses(layers, inputs, self.settings)
            total = torch.log(loss.clamp_min(SMALLEST_LOSS)).sum()
            (found,) = torch.autograd.grad(total, inputs)
        return np.asarray(found.double().cpu().numpy() / self.spread, dtype=np.float64)


def train(
    features: FloatArray,
    settings: AutoencoderSettings,
    seed: int,
    *,
    stop: Stop | None = None,
    progress: Progress | None = None,
) -> TrainedAutoencoder:
    """Train on (n, k) features; see `AutoencoderDetector.fit`.

    Raises:
        DetectorError: if the training failed or the device is not there.
        TrainingStopped: if `stop` said so.
    """
    rng = np.random.default_rng(seed)
    n, k = features.shape
    centre, spread = np.zeros(k), np.ones(k)
    if settings.standardise:
        centre, spread = features.mean(axis=0), features.std(axis=0)
        spread = np.where(spread > 1e-12 * np.maximum(np.abs(centre), 1e-12), spread, 1.0)
    widths = (k, *settings.hidden, *settings.hidden[-2::-1], k)
    start = _initial(widths, settings, rng)
    device = _device(settings, start)
    with one_thread():
        data = _inputs(features, centre, spread)[torch.from_numpy(rng.permutation(n))].to(device)
        held = max(1, int(HELD_OUT * n))
        layers = [torch.from_numpy(layer).to(device).requires_grad_(True) for layer in start]
        kept, epochs = descend(
            *(_Objective(settings), layers, data[held:], data[:held], settings, rng),
            stop=stop,
            progress=progress,
        )
        relative = _check(kept, data[held:], data[:held], settings)
    arrays = tuple(layer.cpu().numpy().copy() for layer in kept)
    return TrainedAutoencoder(settings, centre, spread, arrays, epochs, relative)


@dataclass(frozen=True)
class _Objective:
    """The mean reconstruction loss."""

    settings: AutoencoderSettings
    name: str = "autoencoder"
    remedy: str = "Lower learning_rate, set standardise, or check the ranges of the features."
    block: int = BLOCK

    def step_loss(self, layers: Layers, rows: torch.Tensor) -> torch.Tensor:
        return self.losses(layers, rows).mean()

    def losses(self, layers: Layers, rows: torch.Tensor) -> torch.Tensor:
        return _losses(layers, rows, self.settings)


def _check(
    layers: Layers, data: torch.Tensor, held_out: torch.Tensor, settings: AutoencoderSettings
) -> float:
    """Return the held-out loss relative to that of the best constant.

    Raises:
        DetectorError: if the latent space collapsed or nothing was learned.
    """
    with torch.no_grad():
        latent = _forward(layers[: len(layers) // 2], held_out, settings)
        size = latent.abs().max(dim=0).values.clamp_min(1e-12)
        spread = float((latent.std(dim=0, correction=0) / size).max())
        constant = data.median(dim=0).values if settings.loss == "mae" else data.mean(dim=0)
        reference = float(_distance(held_out, constant.expand_as(held_out), settings).mean())
    relative = mean_loss(_Objective(settings), layers, held_out) / max(reference, SMALLEST_LOSS)
    if spread < MIN_LATENT_SPREAD or relative > MAX_RELATIVE_LOSS:
        raise DetectorError(
            f"The autoencoder's latent space collapsed: its spread is {spread:.1g} of its size, "
            f"and held-out events are reconstructed with {relative:.3f} of the loss of one "
            "constant, so its score would only measure the distance from the typical event. "
            "Widen hidden, train for more epochs, or change learning_rate."
        )
    return relative


def _forward(layers: Layers, inputs: torch.Tensor, settings: AutoencoderSettings) -> torch.Tensor:
    """Apply the layers, with the activation between them and none after the last."""
    activation = _ACTIVATIONS[settings.activation]
    values = inputs
    for i in range(0, len(layers), 2):
        values = functional.linear(values, layers[i], layers[i + 1])
        if i + 2 < len(layers):
            values = activation(values)
    return values


def _losses(layers: Layers, inputs: torch.Tensor, settings: AutoencoderSettings) -> torch.Tensor:
    """Return the loss (n,) of each event."""
    return _distance(inputs, _forward(layers, inputs, settings), settings)


def _distance(
    inputs: torch.Tensor, outputs: torch.Tensor, settings: AutoencoderSettings
) -> torch.Tensor:
    difference = inputs - outputs
    return (difference.abs() if settings.loss == "mae" else difference.square()).mean(dim=1)


def _initial(
    widths: tuple[int, ...], settings: AutoencoderSettings, rng: np.random.Generator
) -> list[Float32Array]:
    """Return normal weights of variance gain^2 / inputs (He et al., ICCV 2015), biases of zero."""
    gain = _GAINS[settings.activation]
    start = []
    for inputs, outputs in itertools.pairwise(widths):
        weight = rng.standard_normal((outputs, inputs)) * gain / math.sqrt(inputs)
        start += [weight.astype(np.float32), np.zeros(outputs, np.float32)]
    return start


def _device(
    settings: AutoencoderSettings, layers: list[Float32Array] | tuple[Float32Array, ...]
) -> torch.device:
    n_weights = sum(layer.size for layer in layers)
    return device_of(settings.device, gains=n_weights >= GPU_WEIGHTS)


def _inputs(features: FloatArray, centre: FloatArray, spread: FloatArray) -> torch.Tensor:
    with np.errstate(over="ignore"):
        return torch.from_numpy(((features - centre) / spread).astype(np.float32))

"""Training of the dense autoencoder with torch (imported only here), and what can go wrong.

Adam with a cosine schedule; kept are the weights of the epoch with the best loss on held-out
events. All randomness comes from one numpy generator, so torch's global state is neither read nor
changed. On a CPU one thread is used, so that the scores depend on the seed alone; trainings run
side by side instead.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from bumpscout_tools.detectors.protocol import Progress, Stop, check_stop
from bumpscout_tools.detectors.settings import AutoencoderSettings
from bumpscout_tools.errors import DetectorError

__all__ = ["TrainedAutoencoder", "train"]

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
Layers = list[torch.Tensor]

HELD_OUT = 0.1
BLOCK = 8192
GPU_WEIGHTS = 300_000
"""`auto` takes a GPU from so many weights on: below, a CPU thread is as fast."""
MAX_RELATIVE_LOSS = 0.98
"""Held-out loss over that of the best constant, above which nothing was learned."""
MIN_LATENT_SPREAD = 1e-4
"""Largest spread of a latent, relative to its largest size, below which it says nothing."""
SMALLEST_LOSS = 1e-30
MIN_STEPS = 50
"""Steps of an epoch: few events are taken in smaller batches, else an epoch would teach nothing."""

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
        device = _device(self.settings, _n_weights(self.layers))
        score = np.empty(len(features))
        with _one_thread(), torch.no_grad():
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
    device = _device(settings, _n_weights(start))
    with _one_thread():
        data = _inputs(features, centre, spread)[torch.from_numpy(rng.permutation(n))].to(device)
        held = max(1, int(HELD_OUT * n))
        layers = [torch.from_numpy(layer).to(device).requires_grad_(True) for layer in start]
        kept, epochs = _descend(layers, data[held:], data[:held], settings, rng, stop, progress)
        relative = _check(kept, data[held:], data[:held], settings)
    arrays = tuple(layer.cpu().numpy().copy() for layer in kept)
    return TrainedAutoencoder(settings, centre, spread, arrays, epochs, relative)


def _descend(
    layers: Layers,
    data: torch.Tensor,
    held_out: torch.Tensor,
    settings: AutoencoderSettings,
    rng: np.random.Generator,
    stop: Stop | None,
    progress: Progress | None,
) -> tuple[Layers, int]:
    """Return the best weights and the number of epochs."""
    batch = max(1, min(settings.batch, len(data) // MIN_STEPS))
    per_epoch = len(data) // batch
    optimiser = torch.optim.Adam(layers, lr=settings.learning_rate)
    best, best_loss, best_epoch = [layer.detach().clone() for layer in layers], math.inf, 0
    total = settings.epochs * per_epoch
    for epoch in range(settings.epochs):
        check_stop(stop)
        order = torch.from_numpy(rng.permutation(len(data))).to(data.device)
        for i in range(per_epoch):
            rate = 0.5 * (1 + math.cos(math.pi * (epoch * per_epoch + i) / total))
            for group in optimiser.param_groups:
                group["lr"] = settings.learning_rate * rate
            loss = _losses(layers, data[order[i * batch : (i + 1) * batch]], settings).mean()
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
        loss_held = _mean_loss(layers, held_out, settings)
        if not math.isfinite(loss_held):
            raise DetectorError(
                f"The autoencoder's loss is {loss_held} after epoch {epoch + 1}: the training "
                "diverged. Lower learning_rate, set standardise, or check the ranges of the "
                "features."
            )
        if loss_held < best_loss:
            best = [layer.detach().clone() for layer in layers]
            best_loss, best_epoch = loss_held, epoch
        if progress is not None:
            progress(epoch + 1, settings.epochs)
        if epoch - best_epoch >= settings.patience:
            break
    return best, epoch + 1


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
    relative = _mean_loss(layers, held_out, settings) / max(reference, SMALLEST_LOSS)
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


def _mean_loss(layers: Layers, inputs: torch.Tensor, settings: AutoencoderSettings) -> float:
    with torch.no_grad():
        parts = [
            float(_losses(layers, block, settings).double().sum())
            for block in torch.split(inputs, BLOCK)
        ]
    return sum(parts) / len(inputs)


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


def _n_weights(layers: list[Float32Array] | tuple[Float32Array, ...]) -> int:
    return sum(layer.size for layer in layers)


def _inputs(features: FloatArray, centre: FloatArray, spread: FloatArray) -> torch.Tensor:
    with np.errstate(over="ignore"):
        return torch.from_numpy(((features - centre) / spread).astype(np.float32))


def _device(settings: AutoencoderSettings, n_weights: int) -> torch.device:
    if settings.device == "cpu":
        return torch.device("cpu")
    there = torch.cuda.is_available()
    if settings.device == "cuda" and not there:
        raise DetectorError(
            "The plan asks for device cuda, but torch finds no CUDA device here; use device auto "
            "or cpu."
        )
    gains = settings.device == "cuda" or n_weights >= GPU_WEIGHTS
    return torch.device("cuda" if there and gains else "cpu")


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

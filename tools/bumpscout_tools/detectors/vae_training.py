"""Training of the variational autoencoder with torch (see `gradient_descent`), and its failures.

The network of a jet, c constituents x_i in units of their spread:

- encoder: a perceptron of each constituent, averaged over all places (so that neither order nor
  padding matters but their number does), and one of the average, to mean and log variance
  of `latent` Gaussians (arXiv:1703.06114, arXiv:1312.6114);
- decoder: a perceptron from a latent point to c constituents y_j;
- loss: half of sum_i min_j |x_i - y_j|^2 + sum_j min_i |x_i - y_j|^2 (Chamfer, arXiv:1612.00603),
  plus `kl_weight` times the divergence of the Gaussians from the unit Gaussian.

Steps draw a latent point; held-out losses and scores take the mean.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from bumpscout_tools.detectors.gradient_descent import Layers, descend, device_of, one_thread
from bumpscout_tools.detectors.protocol import Progress, Stop
from bumpscout_tools.detectors.settings_vae import VaeSettings
from bumpscout_tools.errors import DetectorError

__all__ = ["TrainedVae", "train"]

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]

HELD_OUT = 0.1
BLOCK = 512
"""Events at once: their distances take 40 MB at 100 constituents."""
COPY_BLOCK = 8192
MIN_DIVERGENCE = 0.01
"""Divergence of a latent, averaged over events, below which it says nothing."""
MAX_RELATIVE_LOSS = 0.98
"""Distance from the own reconstruction over that of others, above which nothing was learned."""
SMALLEST_LOSS = 1e-30
MAX_LOG_VARIANCE = 10.0
JETS, AXES = 2, 3
_PHI, _RHO, _DECODER = slice(0, 4), slice(4, 8), slice(8, 14)


@dataclass(frozen=True)
class TrainedVae:
    """A trained VAE.

    Attributes:
        settings: of the training.
        spread: (3,) root mean square of px, py and pz of constituents, by which they are divided.
        layers: weight (out, in) and bias (out,) of each layer in turn: two of each constituent, two
            of the jet, three of the decoder.
        epochs: epochs of the training.
        relative_loss: distance of held-out jets from their reconstructions over that from the
            reconstructions of other jets.
        divergence: (latent,) of held-out jets, averaged.
        skipped: column of the features that is no input.
    """

    settings: VaeSettings
    spread: FloatArray
    layers: tuple[Float32Array, ...]
    epochs: int
    relative_loss: float
    divergence: FloatArray
    skipped: int | None = None

    def jet_losses(self, features: FloatArray) -> FloatArray:
        """Return the loss (n, 2) of both jets of the rows (n, k)."""
        device = device_of(self.settings.device, gains=True)
        losses = np.empty((len(features), JETS))
        with one_thread(), torch.no_grad():
            layers = [torch.from_numpy(layer).to(device) for layer in self.layers]
            for start in range(0, len(features), BLOCK):
                rows = slice(start, start + BLOCK)
                jets = _inputs(features[rows], self.spread, self.skipped).to(device)
                distance, divergence = _parts(layers, jets, None)
                loss = distance + self.settings.kl_weight * divergence.sum(dim=1)
                losses[rows] = loss.double().cpu().numpy().reshape(-1, JETS)
        if not np.isfinite(losses).all():
            raise DetectorError(
                "The variational autoencoder reconstructs some events with a loss that is not "
                "finite; their constituents are probably beyond any scale."
            )
        return losses

    def score(self, features: FloatArray, mass: FloatArray) -> FloatArray:
        """Return ln(loss) (n,) of the rows (n, k), combined from both jets, without the mass."""
        del mass
        jets = self.jet_losses(features)
        loss = jets.sum(axis=1)
        if self.settings.combine != "sum":
            loss = jets.min(axis=1) if self.settings.combine == "min" else jets.max(axis=1)
        return np.asarray(np.log(np.maximum(loss, SMALLEST_LOSS)), dtype=np.float64)


def train(
    features: FloatArray,
    settings: VaeSettings,
    seed: int,
    *,
    skipped: int | None = None,
    stop: Stop | None = None,
    progress: Progress | None = None,
) -> TrainedVae:
    """Train on (n, k) features; see `VaeDetector.fit`.

    Args:
        features: (n, k) constituents, and the skipped column.
        settings: of the training.
        seed: the same seed gives the same scores.
        skipped: column that is no input.
        stop: asked before each epoch.
        progress: told about epochs.

    Raises:
        DetectorError: if the training failed or the device is not there.
        TrainingStopped: if `stop` said so.
    """
    rng = np.random.default_rng(seed)
    n = len(features)
    spread = _spread(features, skipped)
    start = _initial(features.shape[1] // (JETS * AXES), settings, rng)
    device = device_of(settings.device, gains=True)
    with one_thread():
        data = _inputs(features, spread, skipped).reshape(n, JETS, -1, AXES)
        data = data[torch.from_numpy(rng.permutation(n))].to(device)
        held = max(1, int(HELD_OUT * n))
        layers = [torch.from_numpy(layer).to(device).requires_grad_(True) for layer in start]
        kept, epochs = descend(
            *(_Objective(settings, rng), layers, data[held:], data[:held], settings, rng),
            stop=stop,
            progress=progress,
        )
        relative, divergence = _check(kept, data[:held])
    arrays = tuple(layer.cpu().numpy().copy() for layer in kept)
    return TrainedVae(settings, spread, arrays, epochs, relative, divergence, skipped)


@dataclass(frozen=True)
class _Objective:
    """Distance and divergence of both jets of an event."""

    settings: VaeSettings
    rng: np.random.Generator
    name: str = "variational autoencoder"
    remedy: str = "Lower learning_rate, or check the ranges of the constituents."
    block: int = BLOCK

    def step_loss(self, layers: Layers, rows: torch.Tensor) -> torch.Tensor:
        shape = (JETS * len(rows), self.settings.latent)
        noise = torch.from_numpy(self.rng.standard_normal(shape, dtype=np.float32))
        return self._losses(layers, rows, noise.to(rows.device)).mean()

    def losses(self, layers: Layers, rows: torch.Tensor) -> torch.Tensor:
        return self._losses(layers, rows, None)

    def _losses(
        self, layers: Layers, rows: torch.Tensor, noise: torch.Tensor | None
    ) -> torch.Tensor:
        distance, divergence = _parts(layers, rows.flatten(0, 1), noise)
        loss = distance + self.settings.kl_weight * divergence.sum(dim=1)
        return loss.reshape(-1, JETS).sum(dim=1)


def _check(layers: Layers, held_out: torch.Tensor) -> tuple[float, FloatArray]:
    """Return the relative loss and the divergence of each latent.

    Raises:
        DetectorError: if the latent space collapsed or nothing was learned.
    """
    own = other = 0.0
    divergences = []
    with torch.no_grad():
        for events in torch.split(held_out, BLOCK):
            jets = events.flatten(0, 1)
            mean, log_variance = _encode(layers, jets)
            outputs = _decode(layers, mean, jets.shape[1])
            own += float(_chamfer(jets, outputs).double().sum())
            # The same jet of another event: the roll is by one event.
            other += float(_chamfer(jets, outputs.roll(JETS, dims=0)).double().sum())
            divergences.append(_divergence(mean, log_variance))
        divergence = torch.cat(divergences).double().mean(dim=0).cpu().numpy()
    relative = own / max(other, SMALLEST_LOSS)
    if float(divergence.max()) < MIN_DIVERGENCE:
        raise DetectorError(
            f"The latent space of the variational autoencoder collapsed: no latent differs from "
            f"its prior (largest mean divergence {divergence.max():.2g}), so every jet has the "
            "same reconstruction. Lower kl_weight, train for more epochs, or change learning_rate."
        )
    if relative > MAX_RELATIVE_LOSS:
        raise DetectorError(
            f"The variational autoencoder learned nothing: held-out jets are as far from their own "
            f"reconstruction as from that of other jets ({relative:.3f}). Train for more epochs "
            "or with more events, lower kl_weight, or change learning_rate."
        )
    return relative, divergence


def _parts(
    layers: Layers, jets: torch.Tensor, noise: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return distance (m,) and divergence (m, latent) of jets (m, c, 3)."""
    mean, log_variance = _encode(layers, jets)
    point = mean if noise is None else mean + noise * torch.exp(0.5 * log_variance)
    distance = _chamfer(jets, _decode(layers, point, jets.shape[1]))
    return distance, _divergence(mean, log_variance)


def _encode(layers: Layers, jets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    hidden = jets
    each = layers[_PHI]
    for i in range(0, len(each), 2):
        hidden = functional.leaky_relu(functional.linear(hidden, each[i], each[i + 1]))
    there = (jets != 0).any(dim=2, keepdim=True)
    pooled = (hidden * there).mean(dim=1)
    first, bias, last, last_bias = layers[_RHO]
    pooled = functional.leaky_relu(functional.linear(pooled, first, bias))
    mean, log_variance = functional.linear(pooled, last, last_bias).chunk(2, dim=1)
    return mean, log_variance.clamp(-MAX_LOG_VARIANCE, MAX_LOG_VARIANCE)


def _decode(layers: Layers, point: torch.Tensor, constituents: int) -> torch.Tensor:
    decoder = layers[_DECODER]
    values = point
    for i in range(0, len(decoder), 2):
        values = functional.linear(values, decoder[i], decoder[i + 1])
        if i + 2 < len(decoder):
            values = functional.leaky_relu(values)
    return values.reshape(len(point), constituents, AXES)


def _divergence(mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    return 0.5 * (mean.square() + torch.exp(log_variance) - 1 - log_variance)


def _chamfer(jets: torch.Tensor, outputs: torch.Tensor) -> torch.Tensor:
    """Return the distance (m,) of sets (m, c, 3); places that are padding need no partner.

    Nearest partners are found without gradients, which pass through their distances alone: they
    are the gradients of the minimum, for little memory.
    """
    with torch.no_grad():
        square = outputs.square().sum(dim=2)[:, None, :] + jets.square().sum(dim=2)[:, :, None]
        square = torch.baddbmm(square, jets, outputs.transpose(1, 2), alpha=-2)
        nearest_output = square.argmin(dim=2)[..., None].expand(-1, -1, AXES)
        nearest_input = square.argmin(dim=1)[..., None].expand(-1, -1, AXES)
        there = (jets != 0).any(dim=2)
    forth = (jets - outputs.gather(1, nearest_output)).square().sum(dim=2) * there
    back = (outputs - jets.gather(1, nearest_input)).square().sum(dim=2)
    return 0.5 * (forth.sum(dim=1) + back.sum(dim=1))


def _spread(features: FloatArray, skipped: int | None) -> FloatArray:
    """Return the root mean square of px, py and pz of the constituents that there are."""
    total, count = np.zeros(AXES), 0
    for start in range(0, len(features), COPY_BLOCK):
        parts = _constituents(features[start : start + COPY_BLOCK], skipped).reshape(-1, AXES)
        with np.errstate(over="ignore"):
            total += np.square(parts, dtype=np.float64).sum(axis=0)
        count += int((parts != 0).any(axis=1).sum())
    spread = np.sqrt(total / max(count, 1))
    return np.where((spread > 0) & np.isfinite(spread), spread, 1.0)


def _inputs(features: FloatArray, spread: FloatArray, skipped: int | None) -> torch.Tensor:
    """Return jets (2n, c, 3) of float32 in units of the spread, copied in blocks."""
    jets = np.empty((JETS * len(features), features.shape[1] // (JETS * AXES), AXES), np.float32)
    for start in range(0, len(features), COPY_BLOCK):
        parts = _constituents(features[start : start + COPY_BLOCK], skipped)
        rows = slice(JETS * start, JETS * (start + len(parts)))
        with np.errstate(over="ignore"):
            jets[rows] = parts.reshape(-1, *jets.shape[1:]) / spread
    return torch.from_numpy(jets)


def _constituents(rows: FloatArray, skipped: int | None) -> FloatArray:
    return rows if skipped is None else np.delete(rows, skipped, axis=1)


def _initial(
    constituents: int, settings: VaeSettings, rng: np.random.Generator
) -> list[Float32Array]:
    """Return normal weights of variance 2 / inputs (He et al., ICCV 2015) and biases.

    The last biases are those of distinct constituents, so that each output finds partners of its
    own.
    """
    wide = 2 * settings.width
    stacks = (
        (AXES, settings.width, settings.width),
        (settings.width, wide, 2 * settings.latent),
        (settings.latent, wide, 2 * wide, constituents * AXES),
    )
    start = []
    for widths in stacks:
        for inputs, outputs in itertools.pairwise(widths):
            weight = rng.standard_normal((outputs, inputs)) * math.sqrt(2 / inputs)
            start += [weight.astype(np.float32), np.zeros(outputs, np.float32)]
    start[7][settings.latent :] = -2.0
    start[-2] *= 0.1
    start[-1] = (0.5 * rng.standard_normal(constituents * AXES)).astype(np.float32)
    return start

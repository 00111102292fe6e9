"""Maximum-likelihood training of the autoregressive network with torch (imported only here).

`train` fits the density of the events themselves, `train_component` that of a component mixed into
a known density, together with its share.

Adam with a cosine schedule; the weights kept are the exponential average at the epoch with the best
loss on held-out events. All randomness comes from one numpy generator, so torch's global state is
neither read nor changed; the thread count is put back.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from bumpscout_tools.detectors.density.network import (
    MAX_LOG_SCALE,
    OUTPUTS,
    Float32Array,
    Network,
    Progress,
    input_mask,
)
from bumpscout_tools.detectors.density.spline import BINS, BOUND, MIN_SLOPE, MIN_WIDTH
from bumpscout_tools.errors import DetectorError

__all__ = ["train", "train_component"]

FloatArray = npt.NDArray[np.float64]
Loss = Callable[[list[torch.Tensor], torch.Tensor], torch.Tensor]

_ARRAYS = 6  # of a network
_HIDDEN = 64
_RATE = 4e-3
_DECAY = 1e-4
_AVERAGE = 0.99
_HELD_OUT = 0.1
_PATIENCE = 12
_COMPONENT_RATE = 1e-2
_COMPONENT_HELD_OUT = 0.2
_FIRST_SHARE = 0.05
_LARGEST_SHARE = 0.5
_LOG_2PI = math.log(2 * math.pi)


def train(
    scores: FloatArray,
    atoms: npt.NDArray[np.bool_],
    basis: FloatArray,
    weights: FloatArray,
    *,
    rng: np.random.Generator,
    steps: int,
    threads: int,
    progress: Progress | None,
) -> Network:
    """Train the network.

    Args:
        scores: (n, q) scores of the coordinates, 0 where an atom.
        atoms: (n, q) which values are atoms.
        basis: (n, degree + 1) mass polynomials.
        weights: (n,) event weights.
        rng: source of all randomness.
        steps: number of gradient steps at most.
        threads: torch threads to use.
        progress: called with (epochs done, epochs at most).

    Raises:
        DetectorError: if the loss of no epoch was finite.
    """
    size = scores.shape[1]
    columns = (scores, atoms.astype(float), basis, (weights / weights.mean())[:, None])

    def loss(tensors: list[torch.Tensor], rows: torch.Tensor) -> torch.Tensor:
        weighted: torch.Tensor = (_losses(tensors, rows[:, :-1], size) * rows[:, -1]).mean()
        return weighted

    best = _descend(
        np.concatenate(columns, axis=1),
        lambda: _initial(atoms, basis.shape[1], rng),
        loss,
        rng=rng,
        steps=steps,
        threads=threads,
        progress=progress,
        rate=_RATE,
        held_out=_HELD_OUT,
    )
    return Network(tuple(best))


def train_component(
    scores: FloatArray,
    atoms: npt.NDArray[np.bool_],
    log_background: FloatArray,
    *,
    rng: np.random.Generator,
    steps: int,
    threads: int,
    progress: Progress | None,
) -> tuple[Network, float]:
    """Train the network of a component ``p_S`` of ``w p_S + (1 - w) p_B``, ``p_B`` known.

    The network does not depend on the mass. ``w``, at most 0.5, is learned with it.

    Args:
        scores: (n, q) scores of the coordinates, 0 where an atom.
        atoms: (n, q) which values are atoms.
        log_background: (n,) log p_B of the scores.
        rng: source of all randomness.
        steps: number of gradient steps at most.
        threads: torch threads to use.
        progress: called with (epochs done, epochs at most).

    Returns:
        The network, and ``w``.

    Raises:
        DetectorError: if the loss of no epoch was finite.
    """
    size = scores.shape[1]
    basis = np.ones((len(scores), 1))
    columns = (scores, atoms.astype(float), basis, log_background[:, None])

    def loss(tensors: list[torch.Tensor], rows: torch.Tensor) -> torch.Tensor:
        smooth = size - rows[:, size : 2 * size].sum(1)
        log_signal = -_losses(tensors[:-1], rows[:, :-1], size) - 0.5 * _LOG_2PI * smooth
        share = tensors[-1].clamp(max=_logit(_LARGEST_SHARE))
        ours = functional.logsigmoid(share) + log_signal
        theirs = functional.logsigmoid(-share) + rows[:, -1]
        mixed: torch.Tensor = -torch.logaddexp(ours, theirs).mean()
        return mixed

    first = np.full(1, _logit(_FIRST_SHARE), np.float32)
    *arrays, share = _descend(
        np.concatenate(columns, axis=1),
        lambda: [*_initial(atoms, 1, rng), first],
        loss,
        rng=rng,
        steps=steps,
        threads=threads,
        progress=progress,
        rate=_COMPONENT_RATE,
        held_out=_COMPONENT_HELD_OUT,
    )
    largest = min(float(share[0]), _logit(_LARGEST_SHARE))
    return Network(tuple(arrays)), 1 / (1 + math.exp(-largest))


def _logit(share: float) -> float:
    return math.log(share / (1 - share))


def _descend(
    table: FloatArray,
    initial: Callable[[], list[Float32Array]],
    loss_of: Loss,
    *,
    rng: np.random.Generator,
    steps: int,
    threads: int,
    progress: Progress | None,
    rate: float,
    held_out: float,
) -> list[Float32Array]:
    """Minimise a loss with a number of torch threads, which is put back."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return _minimise(table, initial, loss_of, rng, steps, progress, rate, held_out)
    finally:
        torch.set_num_threads(before)


def _minimise(
    table: FloatArray,
    initial: Callable[[], list[Float32Array]],
    loss_of: Loss,
    rng: np.random.Generator,
    steps: int,
    progress: Progress | None,
    first_rate: float,
    held_share: float,
) -> list[Float32Array]:
    """Return the averaged arrays of the epoch with the best loss on held-out rows of the table."""
    n = len(table)
    data = torch.from_numpy(table.astype(np.float32))
    data = data[torch.from_numpy(rng.permutation(n))]
    held = int(held_share * n)
    held_out, data = data[:held], data[held:]
    batch = int(np.clip(n // 20, 128, 1024))
    per_epoch = max(len(data) // batch, 1)
    epochs = math.ceil(steps / per_epoch)

    weights_now = [torch.from_numpy(array) for array in initial()]
    for tensor in weights_now:
        tensor.requires_grad_(True)
    average = [tensor.detach().clone() for tensor in weights_now]
    best, best_loss, best_epoch = copy.deepcopy(average), math.inf, 0
    groups: list[dict[str, Any]] = [
        {"params": weights_now[0:_ARRAYS:2]},
        {"params": weights_now[1:_ARRAYS:2] + weights_now[_ARRAYS:], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=first_rate, weight_decay=_DECAY)
    step = 0
    for epoch in range(epochs):
        order = torch.from_numpy(rng.permutation(len(data)))
        for i in range(per_epoch):
            rate = 0.5 * first_rate * (1 + math.cos(math.pi * step / (epochs * per_epoch)))
            for group in optimiser.param_groups:
                group["lr"] = rate
            rows = data[order[i * batch : (i + 1) * batch]]
            loss = loss_of(weights_now, rows)
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(weights_now, 5.0)
            optimiser.step()
            step += 1
            keep = min(_AVERAGE, step / (step + 10))
            with torch.no_grad():
                for mean, now in zip(average, weights_now, strict=True):
                    mean.lerp_(now, 1 - keep)
        with torch.no_grad():
            loss_held = float(loss_of(average, held_out))
        if loss_held < best_loss:
            best, best_loss, best_epoch = copy.deepcopy(average), loss_held, epoch
        if progress is not None:
            progress(epoch + 1, epochs)
        if epoch - best_epoch > _PATIENCE:
            break
    if not math.isfinite(best_loss):
        raise DetectorError(
            f"The training of a density failed: no epoch of {epochs} had a finite loss. Check the "
            "ranges of the features, or leave out those with extreme values."
        )
    return [tensor.numpy().copy() for tensor in best]


def _initial(
    atoms: npt.NDArray[np.bool_], powers: int, rng: np.random.Generator
) -> list[Float32Array]:
    """Return starting weights: identity splines, and atoms as frequent as they are."""
    size = atoms.shape[1]

    def normal(*shape: int) -> Float32Array:
        return (rng.standard_normal(shape) / math.sqrt(shape[1])).astype(np.float32)

    wide = powers * OUTPUTS
    last = np.zeros((size, 1, wide), np.float32)
    share = np.clip(atoms.mean(axis=0), 1e-9, 1 - 1e-9)
    last[:, 0, OUTPUTS - 1] = np.log(share / (1 - share))
    return [
        normal(size, 2 * size, _HIDDEN),
        np.zeros((size, 1, _HIDDEN), np.float32),
        normal(size, _HIDDEN, _HIDDEN),
        np.zeros((size, 1, _HIDDEN), np.float32),
        np.zeros((size, _HIDDEN, wide), np.float32),
        last,
    ]


def _losses(weights: list[torch.Tensor], rows: torch.Tensor, size: int) -> torch.Tensor:
    """Return -log p of the rows, less log(2 pi) / 2 for each coordinate that is no atom."""
    w1, b1, w2, b2, w3, b3 = weights
    score, atom = rows[:, :size].T, rows[:, size : 2 * size].T
    basis = rows[:, 2 * size :]
    mask = torch.from_numpy(input_mask(size))
    seen = rows[None, :, : 2 * size] * mask[:, None, :]
    hidden = functional.silu(torch.baddbmm(b1, seen, w1))
    hidden = functional.silu(torch.baddbmm(b2, hidden, w2))
    raw = torch.baddbmm(b3, hidden, w3).reshape(size, len(rows), basis.shape[1], OUTPUTS)
    raw = (raw * basis[None, :, :, None]).sum(2)
    shift, log_scale, logit = raw[..., 0], raw[..., 1], raw[..., -1]
    log_scale = log_scale.clamp(-MAX_LOG_SCALE, MAX_LOG_SCALE)
    latent, log_slope = _spline((score - shift) * torch.exp(-log_scale), raw[..., 2:-1])
    smooth = 0.5 * latent**2 - log_slope + log_scale
    is_atom = functional.binary_cross_entropy_with_logits(logit, atom, reduction="none")
    losses: torch.Tensor = (smooth * (1 - atom) + is_atom).sum(0)
    return losses


def _edges(raw: torch.Tensor) -> torch.Tensor:
    size = MIN_WIDTH + (1 - MIN_WIDTH * BINS) * torch.softmax(raw, -1)
    inner = 2 * BOUND * torch.cumsum(size, -1)[..., :-1] - BOUND
    end = torch.full_like(inner[..., :1], BOUND)
    return torch.cat([-end, inner, end], -1)


def _spline(score: torch.Tensor, raw: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return latent and log slope; the equations of ``spline.Spline.forward``."""
    x, y = _edges(raw[..., :BINS]), _edges(raw[..., BINS : 2 * BINS])
    inner = MIN_SLOPE + (1 - MIN_SLOPE) * functional.softplus(raw[..., 2 * BINS :]) / math.log(2)
    one = torch.ones_like(inner[..., :1])
    slopes = torch.cat([one, inner, one], -1)
    inside = score.abs() < BOUND
    at = torch.where(inside, score, torch.zeros_like(score))
    index = (at[..., None] >= x[..., 1:-1]).sum(-1, keepdim=True)

    def pick(values: torch.Tensor, offset: int) -> torch.Tensor:
        return values.gather(-1, index + offset).squeeze(-1)

    x0, y0, d0, d1 = pick(x, 0), pick(y, 0), pick(slopes, 0), pick(slopes, 1)
    width, height = pick(x, 1) - x0, pick(y, 1) - y0
    secant = height / width
    t = (at - x0) / width
    tt = t * (1 - t)
    below = secant + (d0 + d1 - 2 * secant) * tt
    latent = y0 + height * (secant * t * t + d0 * tt) / below
    top = secant**2 * (d1 * t * t + 2 * secant * tt + d0 * (1 - t) ** 2)
    log_slope = torch.log(top) - 2 * torch.log(below)
    return torch.where(inside, latent, score), torch.where(inside, log_slope, 0.0)

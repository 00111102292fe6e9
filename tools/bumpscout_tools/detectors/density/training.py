"""Maximum-likelihood training of the autoregressive network with torch (imported only here).

Adam with a cosine schedule; the weights kept are the exponential average at the epoch with the best
loss on held-out events. All randomness comes from one numpy generator, so torch's global state is
neither read nor changed; the thread count is put back.
"""

from __future__ import annotations

import copy
import math
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

__all__ = ["train"]

FloatArray = npt.NDArray[np.float64]

_HIDDEN = 64
_RATE = 4e-3
_DECAY = 1e-4
_AVERAGE = 0.99
_HELD_OUT = 0.1
_PATIENCE = 12


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
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return _train(scores, atoms, basis, weights, rng, steps, progress)
    finally:
        torch.set_num_threads(before)


def _train(
    scores: FloatArray,
    atoms: npt.NDArray[np.bool_],
    basis: FloatArray,
    weights: FloatArray,
    rng: np.random.Generator,
    steps: int,
    progress: Progress | None,
) -> Network:
    n, size = scores.shape
    columns = (scores, atoms.astype(float), basis, (weights / weights.mean())[:, None])
    data = torch.from_numpy(np.concatenate(columns, axis=1).astype(np.float32))
    data = data[torch.from_numpy(rng.permutation(n))]
    held = int(_HELD_OUT * n)
    held_out, data = data[:held], data[held:]
    batch = int(np.clip(n // 20, 128, 1024))
    per_epoch = max(len(data) // batch, 1)
    epochs = math.ceil(steps / per_epoch)

    weights_now = [torch.from_numpy(a) for a in _initial(atoms, basis.shape[1], rng)]
    for tensor in weights_now:
        tensor.requires_grad_(True)
    average = [tensor.detach().clone() for tensor in weights_now]
    best, best_loss, best_epoch = copy.deepcopy(average), math.inf, 0
    groups: list[dict[str, Any]] = [
        {"params": weights_now[0::2]},
        {"params": weights_now[1::2], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=_RATE, weight_decay=_DECAY)
    step = 0
    for epoch in range(epochs):
        order = torch.from_numpy(rng.permutation(len(data)))
        for i in range(per_epoch):
            rate = 0.5 * _RATE * (1 + math.cos(math.pi * step / (epochs * per_epoch)))
            for group in optimiser.param_groups:
                group["lr"] = rate
            rows = data[order[i * batch : (i + 1) * batch]]
            loss = _loss(weights_now, rows, size)
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
            loss_held = float(_loss(average, held_out, size))
        if loss_held < best_loss:
            best, best_loss, best_epoch = copy.deepcopy(average), loss_held, epoch
        if progress is not None:
            progress(epoch + 1, epochs)
        if epoch - best_epoch > _PATIENCE:
            break
    return Network(tuple(tensor.numpy().copy() for tensor in best))


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


def _loss(weights: list[torch.Tensor], rows: torch.Tensor, size: int) -> torch.Tensor:
    """Return the weighted mean of -log p of the rows."""
    w1, b1, w2, b2, w3, b3 = weights
    score, atom = rows[:, :size].T, rows[:, size : 2 * size].T
    basis, weight = rows[:, 2 * size : -1], rows[:, -1]
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
    loss: torch.Tensor = ((smooth * (1 - atom) + is_atom).sum(0) * weight).mean()
    return loss


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

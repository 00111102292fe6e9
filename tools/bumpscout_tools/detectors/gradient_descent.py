"""Training by gradient descent with held-out events (torch, imported only here): the shared loop.

Adam with a cosine schedule; kept are the weights of the epoch with the best loss on held-out
events. All randomness comes from one numpy generator, so torch's global state is neither read nor
changed. On a CPU one thread is used, so that the scores depend on the seed alone; trainings run
side by side instead.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Literal, Protocol

import numpy as np
import torch

from bumpscout_tools.detectors.protocol import Progress, Stop, check_stop
from bumpscout_tools.errors import DetectorError

__all__ = [
    "DescentSettings",
    "Layers",
    "Objective",
    "descend",
    "device_of",
    "mean_loss",
    "one_thread",
]

Layers = list[torch.Tensor]

MIN_STEPS = 50
"""Steps of an epoch: few events are taken in smaller batches, else an epoch would teach nothing."""


class Objective(Protocol):
    """What is minimised."""

    @property
    def name(self) -> str:
        """What is trained, for messages."""
        ...

    @property
    def remedy(self) -> str:
        """What to do where the training diverges, for messages."""
        ...

    @property
    def block(self) -> int:
        """Events whose loss is computed at once outside of training steps."""
        ...

    def step_loss(self, layers: Layers, rows: torch.Tensor) -> torch.Tensor:
        """Return the loss of a step, a scalar; it may be noisy."""
        ...

    def losses(self, layers: Layers, rows: torch.Tensor) -> torch.Tensor:
        """Return the loss (n,) of each event, without noise."""
        ...


class DescentSettings(Protocol):
    """What the settings of a detector say about its training."""

    @property
    def batch(self) -> int:
        """Events of a step."""
        ...

    @property
    def learning_rate(self) -> float:
        """Of the first step."""
        ...

    @property
    def epochs(self) -> int:
        """At most."""
        ...

    @property
    def patience(self) -> int:
        """Epochs without a better held-out loss after which it stops."""
        ...


def descend(
    objective: Objective,
    layers: Layers,
    data: torch.Tensor,
    held_out: torch.Tensor,
    settings: DescentSettings,
    rng: np.random.Generator,
    *,
    stop: Stop | None = None,
    progress: Progress | None = None,
) -> tuple[Layers, int]:
    """Train, and return the weights with the best held-out loss and the number of epochs.

    Args:
        objective: what is minimised.
        layers: the weights to begin with, which require gradients.
        data: (n, ...) events to learn from.
        held_out: (m, ...) events that decide when to stop.
        settings: of the training.
        rng: source of the order of the events.
        stop: asked before each epoch.
        progress: told about epochs.

    Raises:
        DetectorError: if the loss is not finite.
        TrainingStopped: if `stop` said so.
    """
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
            loss = objective.step_loss(layers, data[order[i * batch : (i + 1) * batch]])
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
        loss_held = mean_loss(objective, layers, held_out)
        if not math.isfinite(loss_held):
            raise DetectorError(
                f"The {objective.name}'s loss is {loss_held} after epoch {epoch + 1}: the training "
                f"diverged. {objective.remedy}"
            )
        if loss_held < best_loss:
            best = [layer.detach().clone() for layer in layers]
            best_loss, best_epoch = loss_held, epoch
        if progress is not None:
            progress(epoch + 1, settings.epochs)
        if epoch - best_epoch >= settings.patience:
            break
    return best, epoch + 1


def mean_loss(objective: Objective, layers: Layers, rows: torch.Tensor) -> float:
    """Return the mean loss of events."""
    with torch.no_grad():
        parts = [
            float(objective.losses(layers, block).double().sum())
            for block in torch.split(rows, objective.block)
        ]
    return sum(parts) / len(rows)


def device_of(wanted: Literal["auto", "cpu", "cuda"], *, gains: bool) -> torch.device:
    """Return where to compute.

    Args:
        wanted: as the plan says; ``auto`` takes a GPU where there is one and it gains time.
        gains: whether it does.

    Raises:
        DetectorError: if ``cuda`` is asked for and not there.
    """
    if wanted == "cpu":
        return torch.device("cpu")
    there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise DetectorError(
            "The plan asks for device cuda, but torch finds no CUDA device here; use device auto "
            "or cpu."
        )
    return torch.device("cuda" if there and (gains or wanted == "cuda") else "cpu")


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread, and put its number back."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

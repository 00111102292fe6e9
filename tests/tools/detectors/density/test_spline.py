from __future__ import annotations

import numpy as np
import torch

from bumpscout_tools.detectors.density.spline import PARAMETERS, Spline
from bumpscout_tools.detectors.density.training import _spline


def raw(n: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0.0, 1.5, (n, PARAMETERS))


def test_the_inverse_undoes_the_spline_inside_and_outside_its_bounds() -> None:
    score = np.linspace(-7, 7, 2001)
    spline = Spline.from_raw(raw(2001))
    latent, _ = spline.forward(score)
    np.testing.assert_allclose(spline.inverse(latent), score, atol=1e-8)


def test_the_slope_is_that_of_finite_differences() -> None:
    score = np.linspace(-6, 6, 1001)
    spline = Spline.from_raw(raw(1001))
    step = 1e-6
    difference = (spline.forward(score + step)[0] - spline.forward(score - step)[0]) / (2 * step)
    np.testing.assert_allclose(np.exp(spline.forward(score)[1]), difference, rtol=1e-3)


def test_zeros_give_the_identity() -> None:
    score = np.linspace(-6, 6, 101)
    latent, log_slope = Spline.from_raw(np.zeros((101, PARAMETERS))).forward(score)
    np.testing.assert_allclose(latent, score, atol=1e-12)
    np.testing.assert_allclose(log_slope, 0.0, atol=1e-12)


def test_training_and_sampling_use_one_spline() -> None:
    score, parameters = np.linspace(-6, 6, 500), raw(500)
    latent, log_slope = Spline.from_raw(parameters).forward(score)
    torch_latent, torch_log_slope = _spline(torch.from_numpy(score), torch.from_numpy(parameters))
    np.testing.assert_allclose(torch_latent.numpy(), latent, atol=1e-8)
    np.testing.assert_allclose(torch_log_slope.numpy(), log_slope, atol=1e-6)

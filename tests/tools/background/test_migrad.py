"""MIGRAD on the raw parameters stops short; in an orthonormal basis it stops where our fit does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from iminuit import Minuit
from numpy.typing import NDArray
from scipy import special

from bumpscout_tools.background import DijetBasis, fit

Array = NDArray[Any]

SQRT_S = 13000.0


class Deviance:
    """The Poisson deviance of a spectrum, with bin integrals of its own (8 nodes)."""

    def __init__(self, table: Array) -> None:
        x, w = np.polynomial.legendre.leggauss(8)
        half = 0.5 * (table[:, 1] - table[:, 0])
        mass = 0.5 * (table[:, 1] + table[:, 0]) + half * x[:, None]
        self.n = table[:, 2]
        self.weight = half * w[:, None]
        self.x = mass / SQRT_S

    def of(self, density: Array) -> float:
        mu = np.clip(np.sum(self.weight * density, axis=0), 1e-300, 1e300)
        return float(2 * np.sum(mu - self.n + special.xlogy(self.n, self.n / mu)))

    def raw(self, *p: float) -> float:
        log_x = np.log(self.x)
        power = sum(c * log_x**k for k, c in enumerate(p[2:]))
        with np.errstate(over="ignore"):
            return self.of(p[0] * (1 - self.x) ** p[1] * self.x**power)

    def orthonormal(self, order: int) -> tuple[Callable[[Array], float], Array]:
        """Return the deviance of coefficients in a basis of its own, and where to start."""
        log_x = np.log(self.x / 0.3)
        terms = [np.ones_like(log_x), np.log1p(-self.x)]
        terms += [log_x**k for k in range(1, order - 1)]
        q, _ = np.linalg.qr(np.stack([term.ravel() for term in terms], axis=1))
        columns = (q * np.sqrt(log_x.size)).reshape(*log_x.shape, order)
        target = np.log((self.n + 0.5) / self.weight.sum(axis=0))
        start = np.linalg.lstsq(columns.mean(axis=0), target, rcond=None)[0]
        return lambda theta: self.of(np.exp(np.clip(columns @ theta, -600, 600))), start


@pytest.mark.parametrize(
    ("name", "start", "strategy"),
    [
        ("atlas_dijet_13tev_139fb", (1.0, 10.0, -5.0, 0.0, 0.0), 1),
        ("atlas_dijet_13tev_37fb", (1.0, 10.0, 5.0, 0.0, 0.0), 1),
        ("atlas_dijet_13tev_37fb", (1.0, 10.0, 5.0, 0.0), 0),
    ],
)
def test_migrad_on_raw_parameters_stops_short_and_our_fit_does_not(
    spectrum: Callable[[str], Array], name: str, start: tuple[float, ...], strategy: int
) -> None:
    table = spectrum(name)
    deviance, order = Deviance(table), len(start)
    ours = fit(table[:, 2], DijetBasis(np.append(table[:, 0], table[-1, 1]), SQRT_S), order)
    assert ours.converged

    raw = Minuit(deviance.raw, *start)
    raw.errordef = Minuit.LEAST_SQUARES
    raw.strategy = strategy
    raw.migrad(ncall=20_000)
    assert raw.valid
    assert raw.fval is not None
    assert raw.fval > ours.deviance + 0.1

    cost, near = deviance.orthonormal(order)
    same = Minuit(cost, near)
    same.errordef = Minuit.LEAST_SQUARES
    same.tol = 1e-3
    same.migrad()
    assert same.valid
    assert same.fval == pytest.approx(ours.deviance, abs=1e-4)

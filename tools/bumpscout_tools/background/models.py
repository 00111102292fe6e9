"""Backgrounds by the names that a user gives them, each fitted the same way to data and to toys.

- ``p2``..``p6``: the dijet family with so many parameters; ``auto``: the order chosen among p2..p6;
- ``ua2``, ``diphoton``, ``exponential``: see `forms`; ``ua2-3`` has three parameters;
- ``sliding``, ``sliding-p3``: sliding-window fits with order 4, or another;
- ``expected``: the column of the file as it is; ``template``: scaled to the data;
  ``template-tilted``: scaled and tilted.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from bumpscout_tools.background.basis import LogLinearBasis
from bumpscout_tools.background.choice import ChoiceTest, choose_order_batch
from bumpscout_tools.background.dijet import MAX_ORDER
from bumpscout_tools.background.fit import FIT_STATUS, FitStatus, fit_batch
from bumpscout_tools.background.forms import FORMS, TemplateBasis, basis_of_form
from bumpscout_tools.background.sliding import SlidingFit
from bumpscout_tools.background.spectrum import Spectrum
from bumpscout_tools.errors import ConfigurationError, InputDataError

__all__ = ["MODEL_NAMES", "FittedBatch", "Model", "make_model"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

MODEL_NAMES = (
    *(f"p{order}" for order in range(2, MAX_ORDER + 1)),
    "auto",
    *sorted(FORMS),
    "sliding",
    "expected",
    "template",
    "template-tilted",
)
"""What `make_model` knows; forms and ``sliding`` also with ``-N`` or ``-pN`` behind them."""

_AUTO = (2, 3, 4, 5, 6)


@dataclass(frozen=True, slots=True)
class FittedBatch:
    """A background fitted to many spectra, none dropped.

    `expected` (t, b); `deviance`, `order` (parameters of the fit) and `status` (t,), an index into
    `FIT_STATUS`; `coefficients` (t, largest order) or None where there is no one function.
    """

    expected: FloatArray
    deviance: FloatArray
    order: IntArray
    status: IntArray
    coefficients: FloatArray | None

    def status_of(self, row: int) -> FitStatus:
        """Return the status of one row in words."""
        return FIT_STATUS[int(self.status[row])]


class Model:
    """A background that can be fitted to spectra in the bins of one spectrum.

    Counts are divided by the mean weights of `Spectrum.scales` before they come in, and what is
    expected is in the same units.

    Attributes:
        name: as the user wrote it.
        basis: of the family, None for ``expected`` and sliding windows.
        orders: from which the order is chosen; one where it is fixed.
        alpha: level of the choice.
        test: of the choice.
        sliding: the sliding-window fit, or None.
    """

    def __init__(
        self,
        name: str,
        *,
        basis: LogLinearBasis | None = None,
        orders: Sequence[int] = (),
        sliding: SlidingFit | None = None,
        fixed: FloatArray | None = None,
        alpha: float = 0.05,
        test: ChoiceTest = "lr",
    ) -> None:
        """Take exactly one of `basis` with `orders`, `sliding` and `fixed`; see `make_model`."""
        self.name = name
        self.basis = basis
        self.orders = tuple(orders)
        self.sliding = sliding
        self.alpha = alpha
        self.test = test
        self._fixed = fixed

    @property
    def fitted(self) -> bool:
        """Whether anything is fitted to the data."""
        return self._fixed is None

    def fit(self, counts: ArrayLike) -> FittedBatch:
        """Fit counts (t, b); the choice of the order is made anew for each row.

        Raises:
            InputDataError: counts of the wrong shape, negative or infinite.
            FitError: too few bins for the largest order.
        """
        n = np.require(counts, np.float64, ["C", "W"])
        rows = n.shape[0]
        if self._fixed is not None:
            expected = np.broadcast_to(self._fixed, n.shape).copy()
            zero = np.zeros(rows, dtype=np.int64)
            return FittedBatch(expected, deviance_of(n, expected), zero, zero, None)
        if self.sliding is not None:
            expected, deviance, failed = self.sliding.expected_batch(n)
            order = np.full(rows, self.sliding.order, dtype=np.int64)
            return FittedBatch(expected, deviance, order, (failed > 0).astype(np.int64), None)
        if self.basis is None:
            raise ConfigurationError(f"The background {self.name} has nothing to fit.")
        many = choose_order_batch(n, self.basis, self.orders, self.alpha, self.test)
        return FittedBatch(many.expected, many.deviance, many.order, many.status, many.coefficients)

    def null(self, counts: ArrayLike, fitted: FittedBatch) -> FloatArray:
        """Return the means (t, b) from which toys of spectra (t, b) with these fits are drawn.

        The fit itself where nothing was chosen. Where the order was chosen, the fit of the next
        larger one: a term too small to be taken (its gain has a probability above `alpha`) is a
        misfit of the data that toys of the chosen order would lack, so that their p is too small.
        An order without a finite optimum that gains more than such a term was not passed over for
        being small: it follows single bins of the data, a peak among them, and is not used.
        """
        if self.basis is None or len(self.orders) < 2:
            return fitted.expected
        n = np.require(counts, np.float64, ["C", "W"])
        means = fitted.expected.copy()
        for order, above in itertools.pairwise(self.orders):
            rows = np.flatnonzero(fitted.order == order)
            if rows.size:
                richer = fit_batch(n[rows], self.basis, above)
                gain = np.maximum(fitted.deviance[rows] - richer.deviance, 0.0)
                small = special.chdtrc(above - order, gain) >= self.alpha
                at_limit = richer.status == FIT_STATUS.index("at limit")
                useful = richer.converged | (at_limit & small)
                means[rows[useful]] = richer.expected[useful]
        return means


def deviance_of(n: FloatArray, expected: FloatArray) -> FloatArray:
    """Return the Poisson deviance (t,) of counts (t, b) and means (t, b)."""
    mu = np.maximum(expected, 1e-300)
    terms = n * np.log(np.where(n > 0, n, 1.0) / np.where(n > 0, mu, 1.0)) - (n - expected)
    total: FloatArray = np.maximum(2.0 * np.sum(terms, axis=-1), 0.0)
    return total


def make_model(
    name: str,
    spectrum: Spectrum,
    sqrt_s_gev: float = 13000.0,
    *,
    alpha: float = 0.05,
    test: ChoiceTest = "lr",
    window_bins: int | None = None,
) -> Model:
    """Return the background of a name on the bins of a spectrum.

    Args:
        name: see the module.
        spectrum: bins, weights and the column ``expected``.
        sqrt_s_gev: collision energy, GeV.
        alpha: level at which ``auto`` takes a larger order.
        test: by which it does so, ``lr`` or ``f``.
        window_bins: bins of a sliding window; None for half of the spectrum.

    Raises:
        ConfigurationError: a name that is unknown, or does not suit the spectrum.
        InputDataError: bins that the background does not exist in.
        FitError: too few bins for the parameters.
    """
    weight = 1.0 / spectrum.scales()
    family = re.fullmatch(r"p([1-9])", name)
    form = re.fullmatch(r"([a-z0-9]+?)(?:-([1-9]))?", name)
    sliding = re.fullmatch(r"sliding(?:-p([1-9]))?", name)
    if name == "auto":
        orders = tuple(order for order in _AUTO if order < spectrum.n_bins - 1)
        basis = basis_of_form("dijet", spectrum.edges, sqrt_s_gev, orders[-1], weight)
        return Model(name, basis=basis, orders=orders, alpha=alpha, test=test)
    if family and 2 <= int(family[1]) <= MAX_ORDER:
        order = int(family[1])
        basis = basis_of_form("dijet", spectrum.edges, sqrt_s_gev, order, weight)
        return Model(name, basis=basis, orders=(order,))
    if form and form[1] in FORMS:
        order = int(form[2]) if form[2] else FORMS[form[1]].order
        basis = basis_of_form(form[1], spectrum.edges, sqrt_s_gev, order, weight)
        return Model(name, basis=basis, orders=(order,))
    if sliding:
        order = int(sliding[1]) if sliding[1] else 4
        fit = SlidingFit(spectrum.edges, sqrt_s_gev, order, window_bins, weight=weight)
        return Model(name, sliding=fit)
    if name in {"expected", "template", "template-tilted"}:
        return _from_column(name, spectrum, weight)
    raise ConfigurationError(
        f"There is no background {name[:40]!r}: choose {', '.join(MODEL_NAMES[:-1])} or "
        f"{MODEL_NAMES[-1]}."
    )


def _from_column(name: str, spectrum: Spectrum, weight: FloatArray) -> Model:
    if spectrum.expected is None:
        raise InputDataError(
            f"The background {name!r} needs a column `expected` in the file: add one, or fit a "
            "model."
        )
    lost = (spectrum.expected <= 0) & (spectrum.observed > 0)
    if np.any(lost):
        at = int(np.argmax(lost))
        raise InputDataError(
            f"Between {spectrum.edges[at]:g} and {spectrum.edges[at + 1]:g} GeV "
            f"{spectrum.observed[at]:g} events were observed where the column `expected` holds 0: "
            "a background expects more than 0 where there are events."
        )
    if name == "expected":
        return Model(name, fixed=spectrum.expected * weight)
    basis = TemplateBasis(spectrum.edges, np.maximum(spectrum.expected, 1e-9), weight)
    return Model(name, basis=basis, orders=(1 if name == "template" else 2,))

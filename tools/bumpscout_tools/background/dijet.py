"""The dijet family as a Poisson model with a log-linear mean.

    f(x) = p1 (1 - x)^p2 x^(p3 + p4 ln x + p5 ln^2 x + p6 ln^3 x),    x = m / sqrt(s)

Its logarithm is linear in (ln p1, p2, ..., p6), so that a binned Poisson fit has one optimum
(ATLAS arXiv:1910.08447, 2005.02983; CMS arXiv:1911.03947). Order N uses the first N parameters:
order 3 is the form of CDF, Phys. Rev. Lett. 74 (1995) 3538; order 4 that of CDF, arXiv:0812.4036,
and of the dijet searches of ATLAS and CMS.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bumpscout_tools.background.basis import LogLinearBasis, Term, checked_edges
from bumpscout_tools.errors import FitError, InputDataError

__all__ = ["MAX_ORDER", "DijetBasis"]

FloatArray = NDArray[np.float64]

MAX_ORDER = 6


class DijetBasis(LogLinearBasis):
    """The dijet family on the bins of one spectrum, for all orders at once.

    Attributes:
        sqrt_s_gev: collision energy, GeV; the others as in `LogLinearBasis`.
    """

    def __init__(
        self,
        edges_gev: ArrayLike,
        sqrt_s_gev: float,
        max_order: int = 5,
        weight: ArrayLike = 1.0,
    ) -> None:
        """Build the basis.

        Args:
            edges_gev: (b + 1,) rising edges of the bins, GeV, between 0 and `sqrt_s_gev`.
            sqrt_s_gev: collision energy, GeV.
            max_order: 1 to 6, the largest order to be fitted.
            weight: (b,) or one number, see `LogLinearBasis`.

        Raises:
            InputDataError: edges that do not rise, or lie outside 0 < m < sqrt(s).
            FitError: fewer than `max_order` + 1 bins, or bins too alike to tell the terms apart.
        """
        edges = checked_edges(edges_gev)
        if edges[0] <= 0 or edges[-1] >= sqrt_s_gev:
            raise InputDataError(
                f"The spectrum spans {edges[0]:g} to {edges[-1]:g} GeV, but the dijet family "
                f"exists only between 0 and sqrt(s) = {sqrt_s_gev:g} GeV: cut the spectrum or "
                "correct the collision energy."
            )
        if not 1 <= max_order <= MAX_ORDER:
            raise FitError(f"The dijet family has orders 1 to {MAX_ORDER}, not {max_order}.")
        self.sqrt_s_gev = float(sqrt_s_gev)
        super().__init__(edges, _terms(float(sqrt_s_gev), max_order), name="dijet", weight=weight)

    def __reduce__(self) -> tuple[type[DijetBasis], tuple[object, ...]]:
        """Return what builds the same basis again, for copies in other processes."""
        return DijetBasis, (self.edges_gev, self.sqrt_s_gev, self.max_order, self.weight)


def _terms(sqrt_s_gev: float, max_order: int) -> list[Term]:
    def power(exponent: int) -> Term:
        return lambda mass: np.log(mass / sqrt_s_gev) ** exponent

    terms: list[Term] = [np.ones_like, lambda mass: np.log1p(-mass / sqrt_s_gev)]
    terms += [power(exponent) for exponent in range(1, max_order - 1)]
    return terms[:max_order]

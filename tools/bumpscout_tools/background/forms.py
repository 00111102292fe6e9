"""Named backgrounds outside the dijet family, and templates of the user; all are log-linear.

With x = m / sqrt(s):

- ``ua2``: p1 x^-p2 exp(-p3 x - p4 x^2), the form with which UA2 described two-jet masses (Z.
  Phys. C49 (1991) 17, Nucl. Phys. B400 (1993) 3); still an alternative to the dijet family at the
  LHC (both come out of ATLAS and CMS data in arXiv:2607.19750);
- ``diphoton``: p1 (1 - x^(1/3))^p2 x^(p3 + p4 ln x), of the diphoton searches of ATLAS
  (arXiv:1606.03833);
- ``exponential``: p1 exp(-p2 x - p3 x^2 - p4 x^3), the exponential of a polynomial.

The history of such functions is in R. Harris, K. Kousouris, arXiv:1110.5302.

Fewer parameters leave the last ones at zero. A `TemplateBasis` is a shape given by its bins, times
p1 (m / m0)^p2: a free normalisation, and a free slope if wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bumpscout_tools.background.basis import LogLinearBasis, Term
from bumpscout_tools.background.dijet import MAX_ORDER, DijetBasis
from bumpscout_tools.errors import ConfigurationError, InputDataError

__all__ = ["FORMS", "Form", "TemplateBasis", "basis_of_form"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Form:
    """One named form: its formula, its terms in x, the signs of its parameters, the usual order."""

    formula: str
    terms: tuple[Callable[[FloatArray], FloatArray], ...]
    signs: tuple[float, ...]
    order: int


def _log(x: FloatArray) -> FloatArray:
    y: FloatArray = np.log(x)
    return y


FORMS: Mapping[str, Form] = MappingProxyType(
    {
        "ua2": Form(
            "p1 x^-p2 exp(-p3 x - p4 x^2)",
            (np.ones_like, _log, lambda x: x, lambda x: x**2),
            (1.0, -1.0, -1.0, -1.0),
            4,
        ),
        "diphoton": Form(
            "p1 (1 - x^(1/3))^p2 x^(p3 + p4 ln x)",
            (np.ones_like, lambda x: np.log1p(-np.cbrt(x)), _log, lambda x: np.log(x) ** 2),
            (1.0, 1.0, 1.0, 1.0),
            4,
        ),
        "exponential": Form(
            "p1 exp(-p2 x - p3 x^2 - p4 x^3)",
            (np.ones_like, lambda x: x, lambda x: x**2, lambda x: x**3),
            (1.0, -1.0, -1.0, -1.0),
            4,
        ),
    }
)
"""The named forms outside the dijet family."""


def basis_of_form(
    form: str,
    edges_gev: ArrayLike,
    sqrt_s_gev: float,
    max_order: int | None = None,
    weight: ArrayLike = 1.0,
) -> LogLinearBasis:
    """Return the basis of a form by its name.

    Args:
        form: ``dijet`` or a key of `FORMS`.
        edges_gev: (b + 1,) rising edges of the bins, GeV.
        sqrt_s_gev: collision energy, GeV.
        max_order: number of parameters; None for the largest of the form.
        weight: (b,) or one number, see `LogLinearBasis`.

    Raises:
        ConfigurationError: a form or a number of parameters that does not exist.
        InputDataError: edges that do not rise between 0 and sqrt(s).
        FitError: too few bins, or bins too alike.
    """
    if form == "dijet":
        return DijetBasis(edges_gev, sqrt_s_gev, max_order or MAX_ORDER, weight)
    if form not in FORMS:
        raise ConfigurationError(
            f"There is no background {form!r}: choose dijet, {', '.join(sorted(FORMS))}."
        )
    known = FORMS[form]
    order = known.order if max_order is None else max_order
    if not 1 <= order <= len(known.terms):
        raise ConfigurationError(
            f"The background {form} has 1 to {len(known.terms)} parameters, not {order}."
        )
    last = float(np.max(np.asarray(edges_gev, dtype=np.float64), initial=0.0))
    if last >= sqrt_s_gev:
        raise InputDataError(
            f"The spectrum reaches {last:g} GeV, but the background {form} exists only below "
            f"sqrt(s) = {sqrt_s_gev:g} GeV: cut the spectrum or correct the collision energy."
        )
    return _FormBasis(form, edges_gev, sqrt_s_gev, order, weight)


class _FormBasis(LogLinearBasis):
    """A form of `FORMS`, already checked by `basis_of_form`."""

    def __init__(
        self, form: str, edges_gev: ArrayLike, sqrt_s_gev: float, order: int, weight: ArrayLike
    ) -> None:
        def of_mass(term: Callable[[FloatArray], FloatArray]) -> Term:
            return lambda mass: term(mass / sqrt_s_gev)

        known = FORMS[form]
        terms = [of_mass(term) for term in known.terms[:order]]
        self._made_of = (form, edges_gev, sqrt_s_gev, order, weight)
        super().__init__(edges_gev, terms, name=form, signs=known.signs[:order], weight=weight)

    def __reduce__(self) -> tuple[type[_FormBasis], tuple[object, ...]]:
        return _FormBasis, self._made_of


class TemplateBasis(LogLinearBasis):
    """A shape of the user's, times p1 (m / m0)^p2, with m0 the geometric mean of the range.

    Order 1 scales the template, order 2 tilts it too. Within a bin the template is flat.
    """

    def __init__(self, edges_gev: ArrayLike, template: ArrayLike, weight: ArrayLike = 1.0) -> None:
        """Build the basis.

        Args:
            edges_gev: (b + 1,) rising edges of the bins, GeV.
            template: (b,) events expected in each bin, all above 0.
            weight: (b,) or one number that multiplies the template.

        Raises:
            InputDataError: a template that does not belong to the bins or is not above 0.
        """
        edges = np.asarray(edges_gev, dtype=np.float64)
        shape = np.asarray(template, dtype=np.float64)
        if shape.shape != (edges.size - 1,):
            raise InputDataError(
                f"A template of shape {shape.shape} does not belong to {edges.size - 1} bins."
            )
        if not np.all((shape > 0) & np.isfinite(shape)):
            at = int(np.argmin((shape > 0) & np.isfinite(shape)))
            raise InputDataError(
                f"The template expects {shape[at]:g} events between {edges[at]:g} and "
                f"{edges[at + 1]:g} GeV; a background expects more than 0 in each bin: leave out "
                "such bins."
            )
        m0 = float(np.sqrt(edges[0] * edges[-1])) if edges[0] > 0 else 1.0
        super().__init__(
            edges,
            [np.ones_like, lambda mass: np.log(mass / m0)],
            name="template",
            weight=shape / np.diff(edges) * np.asarray(weight, dtype=np.float64),
        )
        self._made_of = (edges, shape, weight)

    def __reduce__(self) -> tuple[type[TemplateBasis], tuple[object, ...]]:
        """Return what builds the same basis again, for copies in other processes."""
        return TemplateBasis, self._made_of

"""p-values counted from toys, with their binomial uncertainty.

What to use when:

- a fixed number of toys: `toy_p_value`;
- toys until enough of them reached the data: `besag_clifford`.
"""

from __future__ import annotations

from typing import NamedTuple

from scipy import special

from bumpscout_tools.errors import ConfigurationError

__all__ = ["ToyP", "besag_clifford", "clopper_pearson", "toy_p_value"]

_ONE_SIGMA = 0.6826894921370859


class ToyP(NamedTuple):
    """A p-value from toys: its value and a central interval (68% unless told otherwise)."""

    value: float
    low: float
    high: float


def _check(reached: int, n: int, level: float) -> None:
    if not 0 <= reached <= n:
        raise ConfigurationError(f"{reached} of {n} toys cannot have reached the data.")
    if not 0 < level < 1:
        raise ConfigurationError(f"The level of an interval lies between 0 and 1, not {level}.")


def clopper_pearson(reached: int, n: int, level: float = _ONE_SIGMA) -> tuple[float, float]:
    """Return the central Clopper-Pearson interval of a probability, from `reached` of `n` trials.

    Its coverage is at least `level` whatever the probability (Biometrika 26 (1934) 404).

    Raises:
        ConfigurationError: counts or a level that are impossible.
    """
    _check(reached, n, level)
    tail = 0.5 * (1.0 - level)
    low = float(special.betaincinv(reached, n - reached + 1, tail)) if reached else 0.0
    high = float(special.betainccinv(reached + 1, n - reached, tail)) if reached < n else 1.0
    return low, high


def toy_p_value(reached: int, n: int, level: float = _ONE_SIGMA) -> ToyP:
    """Return (k + 1) / (n + 1) for k of n toys that reached the data, with an interval.

    The value is a valid p-value for any n: P(value <= a) <= a under the null (B. Phipson,
    G. Smyth, arXiv:1603.05766). The interval is Clopper-Pearson's for the probability k / n.

    Args:
        reached: toys at least as extreme as the data.
        n: all toys, none dropped.
        level: content of the interval.

    Raises:
        ConfigurationError: counts or a level that are impossible.

    >>> toy_p_value(0, 999).value
    0.001
    """
    low, high = clopper_pearson(reached, n, level)
    value = (reached + 1) / (n + 1)
    return ToyP(value, low, max(high, value))


def besag_clifford(reached: int, n: int, stop_after: int, level: float = _ONE_SIGMA) -> ToyP:
    """Return the sequential p-value of toys that stop at the `stop_after`-th that reaches the data.

    h / n where the h-th toy that reached the data was toy number n (the last one made), else
    (k + 1) / (n + 1): valid because the rule does not look at the interval (J. Besag, P. Clifford,
    Biometrika 78 (1991) 301). After a stop the interval is the exact one of the negative binomial:
    `low` from h of n, `high` from h - 1 of n - 1, since the last toy was bound to reach the data.

    Args:
        reached: toys at least as extreme as the data, at most `stop_after`.
        n: toys made when the sequence ended.
        stop_after: h, the number of such toys that ends the sequence.
        level: content of the interval.

    Raises:
        ConfigurationError: counts that the rule cannot have produced, or an impossible level.
    """
    _check(reached, n, level)
    if stop_after < 1 or reached > stop_after:
        raise ConfigurationError(
            f"{reached} toys reached the data although the sequence ends after {stop_after}: "
            "count only up to the toy that ended it."
        )
    if reached < stop_after:
        return toy_p_value(reached, n, level)
    low, _ = clopper_pearson(reached, n, level)
    _, high = clopper_pearson(reached - 1, n - 1, level)
    value = reached / n
    return ToyP(value, low, max(high, value))

"""Conditional density of the features given the mass: the generator of background-only replays.

============================ ==========================================================
to do this                   use
============================ ==========================================================
fit p(features | mass)       ``ConditionalDensity.fit(features, mass, seed=1)``
draw features at given masses ``density.sample(mass, rng)`` (numpy only, ~1 s per 70k)
ship it to a worker          pickle it, or ``to_bytes()`` / ``from_bytes()``
check it                     ``density.closure(features, mass, rng)``
density of other events      ``density.refit(features, mass, seed=1, degree=1, steps=400)``
what is mixed into it        ``density.component(features, mass, seed=1, steps=1000)``
compare them                 ``log_ratio(densities, density, features, mass)``
============================ ==========================================================

To keep a possible signal out, drop its mass window from what `fit` gets: every parameter of the
model is a low polynomial in log mass, so the fit interpolates across the gap.
"""

from bumpscout_tools.detectors.density.closure import Closure
from bumpscout_tools.detectors.density.conditional import ConditionalDensity
from bumpscout_tools.detectors.density.ratio import log_ratio

__all__ = ["Closure", "ConditionalDensity", "log_ratio"]

"""p(features | mass) as an autoregressive spline model, fitted with torch and sampled in numpy.

Each feature becomes a normal score with its smooth mass trend taken out (`marginal`), then
``p(z_1 .. z_q | m) = prod_i p(z_i | z_1 .. z_i-1, m)``: each factor is a rational-quadratic spline
of a normal variable, and a probability for the atom, if the feature has one (`network`, `spline`).
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import expit, log_expit

from bumpscout_tools.detectors.density.closure import Closure, real_against_generated
from bumpscout_tools.detectors.density.coordinates import Coordinates, find_coordinates
from bumpscout_tools.detectors.density.marginal import Marginal, fit_marginal, mass_basis
from bumpscout_tools.detectors.density.network import Network, Progress
from bumpscout_tools.detectors.density.spline import Spline
from bumpscout_tools.errors import DetectorError, InputDataError

__all__ = ["MIN_EVENTS", "MIN_REFIT_EVENTS", "ConditionalDensity"]

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

MIN_EVENTS = 1000
MIN_REFIT_EVENTS = 100
_BLOCK = 8192  # rows at a time: the intermediate arrays stay in the cache
_FORMAT = 1


@dataclass(frozen=True)
class ConditionalDensity:
    """A fitted density of the features given the mass; numpy arrays only, so it pickles.

    Attributes:
        coordinates: which features are sampled, and how the others follow.
        mass_scale: (2,) centre and half width in log mass.
        degree: power of log mass up to which parameters vary.
        marginals: one a sampled coordinate.
        network: the conditional part.
    """

    coordinates: Coordinates
    mass_scale: FloatArray
    degree: int
    marginals: tuple[Marginal, ...]
    network: Network

    @classmethod
    def fit(
        cls,
        features: FloatArray,
        mass: FloatArray,
        *,
        seed: int,
        weights: FloatArray | None = None,
        degree: int = 2,
        steps: int | None = None,
        threads: int = 2,
        progress: Progress | None = None,
    ) -> ConditionalDensity:
        """Fit the density to events; leave out those of the masked mass window beforehand.

        Args:
            features: (n, k), any units; n >= 1000.
            mass: (n,) GeV.
            seed: decides the result, for a given number of `threads`.
            weights: (n,) positive event weights; 1 if None.
            degree: power of log mass up to which the model's parameters vary.
            steps: gradient steps at most; if None, 350 for 1000 events up to 1500 for 24k and more.
            threads: CPU threads for the training.
            progress: called with (epochs done, epochs at most).

        Raises:
            DetectorError: if there are too few events, unusable values or constant features.
        """
        weights = np.ones(len(mass)) if weights is None else weights
        _check(features, mass, weights)
        coordinates = find_coordinates(features)
        inner = coordinates.inner(features)
        log_mass = np.log(mass)
        low, high = np.quantile(log_mass, [0.005, 0.995])
        if high <= low:
            raise DetectorError("All masses are the same; a density given the mass needs a range.")
        mass_scale = np.array([0.5 * (low + high), 0.5 * (high - low)])
        basis = mass_basis(log_mass, mass_scale[0], mass_scale[1], degree)
        marginals = tuple(
            fit_marginal(inner[:, i], weights, basis, f"column {column}")
            for i, column in enumerate(coordinates.columns)
        )
        scores, atoms = _scores(marginals, inner, basis)
        # torch takes a second and 200 MB to import: only where something is trained.
        from bumpscout_tools.detectors.density.training import train

        network = train(
            scores,
            atoms,
            basis,
            weights,
            rng=np.random.default_rng(seed),
            steps=steps or min(1500, 300 + len(mass) // 20),
            threads=threads,
            progress=progress,
        )
        return cls(coordinates, mass_scale, degree, marginals, network)

    def refit(
        self,
        features: FloatArray,
        mass: FloatArray,
        *,
        seed: int,
        degree: int,
        steps: int,
        smear: float = 0.0,
        threads: int = 2,
        progress: Progress | None = None,
    ) -> ConditionalDensity:
        """Fit the density of other events in the same scores, so that the two can be divided.

        Coordinates and marginals stay, the network alone is trained.

        Args:
            features: (n, k), as those of the first fit; n >= 100.
            mass: (n,) GeV.
            seed: decides the result, for a given number of `threads`.
            degree: power of log mass up to which the network's parameters vary.
            steps: gradient steps at most.
            smear: standard deviation of normal noise that is added to the scores, in which the
                events of the first fit are nearly standard normal.
            threads: CPU threads for the training.
            progress: called with (epochs done, epochs at most).

        Raises:
            DetectorError: if there are too few events, the degree is higher than that of the first
                fit, or the training fails.
        """
        if degree > self.degree:
            raise DetectorError(
                f"A density of degree {degree} in log mass does not fit into one of degree "
                f"{self.degree}; choose at most that."
            )
        scores, atoms, basis = self._scores_of(features, mass)
        rng = np.random.default_rng(seed)
        if smear:
            scores = np.where(atoms, 0.0, scores + smear * rng.standard_normal(scores.shape))
        from bumpscout_tools.detectors.density.training import train

        network = train(
            scores,
            atoms,
            basis[:, : degree + 1],
            np.ones(len(mass)),
            rng=rng,
            steps=steps,
            threads=threads,
            progress=progress,
        )
        return replace(self, network=network)

    def component(
        self,
        features: FloatArray,
        mass: FloatArray,
        *,
        seed: int,
        steps: int,
        threads: int = 2,
        progress: Progress | None = None,
    ) -> tuple[ConditionalDensity, float]:
        """Fit what is mixed into events of this density, by maximum likelihood.

        The component has the same features at each mass, and is the same share of the events there
        (of R-ANODE, arXiv:2312.11629, with p(mass) of the data for signal and background).

        Args:
            features: (n, k) of the mixture, as those of the first fit; n >= 100.
            mass: (n,) GeV.
            seed: decides the result, for a given number of `threads`.
            steps: gradient steps at most.
            threads: CPU threads for the training.
            progress: called with (epochs done, epochs at most).

        Returns:
            The density of the component in the same scores, and its share of the events.

        Raises:
            DetectorError: if there are too few events, or the training fails.
        """
        scores, atoms, _ = self._scores_of(features, mass)
        from bumpscout_tools.detectors.density.training import train_component

        network, share = train_component(
            scores,
            atoms,
            self.log_density(features, mass),
            rng=np.random.default_rng(seed),
            steps=steps,
            threads=threads,
            progress=progress,
        )
        return replace(self, network=network), share

    def _scores_of(
        self, features: FloatArray, mass: FloatArray
    ) -> tuple[FloatArray, BoolArray, FloatArray]:
        """Return scores (n, q), atom flags (n, q) and mass polynomials (n, degree + 1)."""
        n, width = len(mass), self.coordinates.matrix.shape[1]
        if features.shape != (n, width) or n < MIN_REFIT_EVENTS:
            raise DetectorError(
                f"A density of {width} features is fitted anew to at least {MIN_REFIT_EVENTS} "
                f"events with these features and a mass; got {features.shape} and {n} masses."
            )
        basis = self._basis(mass)
        return *_scores(self.marginals, self.coordinates.inner(features), basis), basis

    def sample(self, mass: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Draw features (m, k), float64, at the masses (m,) in GeV."""
        features = np.empty((len(mass), self.coordinates.matrix.shape[1]))
        for start in range(0, len(mass), _BLOCK):
            rows = slice(start, start + _BLOCK)
            features[rows] = self.coordinates.outer(self._sample(mass[rows], rng))
        return features

    def _sample(self, mass: FloatArray, rng: np.random.Generator) -> FloatArray:
        n, size = len(mass), len(self.marginals)
        basis = self._basis(mass)
        latent = rng.standard_normal((n, size))
        uniform = rng.random((n, size))
        inputs = np.zeros((n, 2 * size), dtype=np.float32)
        inner = np.empty((n, size))
        for i, marginal in enumerate(self.marginals):
            parameters = self.network.parameters(i, inputs, basis)
            score = Spline.from_raw(parameters[:, 2:-1]).inverse(latent[:, i])
            score = score * np.exp(parameters[:, 1]) + parameters[:, 0]
            inner[:, i] = marginal.value(score, basis)
            if not np.isnan(marginal.atom):
                atom = uniform[:, i] < expit(parameters[:, -1])
                inner[atom, i] = marginal.atom
                score[atom] = 0.0
                inputs[:, size + i] = atom
            inputs[:, i] = score
        return inner

    def latent(self, features: FloatArray, mass: FloatArray) -> FloatArray:
        """Return the latents (n, q): standard normal for events of the model, 0 for atoms."""
        return self._latent(features, mass)[0]

    def log_density(self, features: FloatArray, mass: FloatArray) -> FloatArray:
        """Return log p (n,) of the scores given the mass; low for anomalous events.

        It is a density in normal scores, not in the features' units, so that it does not depend
        on whether a mass or its logarithm is the feature.
        """
        return self._latent(features, mass)[1]

    def _latent(self, features: FloatArray, mass: FloatArray) -> tuple[FloatArray, FloatArray]:
        inner = self.coordinates.inner(features)
        latent, density = np.empty_like(inner), np.zeros(len(mass))
        for start in range(0, len(mass), _BLOCK):
            rows = slice(start, start + _BLOCK)
            basis = self._basis(mass[rows])
            scores, atoms = _scores(self.marginals, inner[rows], basis)
            inputs = np.concatenate([scores, atoms], axis=1).astype(np.float32)
            for i in range(inner.shape[1]):
                parameters = self.network.parameters(i, inputs, basis)
                score = (scores[:, i] - parameters[:, 0]) * np.exp(-parameters[:, 1])
                u, log_slope = Spline.from_raw(parameters[:, 2:-1]).forward(score)
                smooth = log_slope - parameters[:, 1] - 0.5 * (u**2 + np.log(2 * np.pi))
                atom, logit = atoms[:, i], parameters[:, -1]
                latent[rows, i] = np.where(atom, 0.0, u)
                density[rows] += np.where(atom, log_expit(logit), smooth + log_expit(-logit))
        return latent, density

    def _basis(self, mass: FloatArray) -> FloatArray:
        return mass_basis(np.log(mass), self.mass_scale[0], self.mass_scale[1], self.degree)

    def closure(
        self, features: FloatArray, mass: FloatArray, rng: np.random.Generator, n_jobs: int = 1
    ) -> Closure:
        """Compare events with generated ones at the same masses by a classifier.

        Args:
            features: (n, k), best of events that the fit has not seen.
            mass: (n,) GeV.
            rng: draws the generated events and the classifier's folds.
            n_jobs: threads of the classifier.
        """
        generated = self.sample(mass, rng)
        return real_against_generated(
            features,
            generated,
            mass,
            rng,
            rarity=-np.stack([self.log_density(x, mass) for x in (features, generated)]),
            n_jobs=n_jobs,
        )

    def to_bytes(self) -> bytes:
        """Return the model as an npz archive without pickled objects."""
        arrays: dict[str, npt.NDArray[np.generic]] = {
            "format": np.array(_FORMAT),
            "columns": self.coordinates.columns,
            "matrix": self.coordinates.matrix,
            "mass_scale": self.mass_scale,
            "degree": np.array(self.degree),
            "ends": np.array([[m.atom, m.atom_edge, m.logarithmic] for m in self.marginals]),
            "tables": np.stack([m.table for m in self.marginals]),
            "locations": np.stack([m.location for m in self.marginals]),
            "log_scales": np.stack([m.log_scale for m in self.marginals]),
        }
        arrays |= {f"network_{i}": array for i, array in enumerate(self.network.arrays)}
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> ConditionalDensity:
        """Read what `to_bytes` wrote.

        Raises:
            InputDataError: if the content is no such archive.
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as archive:
                a = {name: archive[name] for name in archive.files}
            if int(a["format"]) != _FORMAT:
                raise ValueError(f"format {int(a['format'])}")
            marginals = tuple(
                Marginal(float(end[0]), float(end[1]), bool(end[2]), table, location, log_scale)
                for end, table, location, log_scale in zip(
                    a["ends"], a["tables"], a["locations"], a["log_scales"], strict=True
                )
            )
            return cls(
                Coordinates(a["columns"], a["matrix"]),
                a["mass_scale"],
                int(a["degree"]),
                marginals,
                Network(tuple(a[f"network_{i}"] for i in range(6))),
            )
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise InputDataError(
                f"These {len(content)} bytes are no saved conditional density of format {_FORMAT}: "
                f"{error}. Fit it anew."
            ) from error


def _scores(
    marginals: tuple[Marginal, ...], inner: FloatArray, basis: FloatArray
) -> tuple[FloatArray, BoolArray]:
    """Return scores (n, q) and atom flags (n, q) of the coordinates (n, q)."""
    pairs = list(zip(marginals, inner.T, strict=True))
    scores = np.stack([marginal.score(values, basis) for marginal, values in pairs], axis=1)
    atoms = np.stack([marginal.is_atom(values) for marginal, values in pairs], axis=1)
    return scores, atoms


def _check(features: FloatArray, mass: FloatArray, weights: FloatArray) -> None:
    n = len(mass)
    if features.ndim != 2 or len(features) != n or weights.shape != (n,) or not features.size:
        raise DetectorError(
            f"A conditional density needs features (n, k), masses (n,) and weights (n,); got "
            f"{features.shape}, {mass.shape} and {weights.shape}."
        )
    if n < MIN_EVENTS:
        raise DetectorError(
            f"A conditional density needs at least {MIN_EVENTS} events outside the masked window; "
            f"got {n}. Mask less, or widen the mass range."
        )
    constant = np.flatnonzero(features.max(axis=0) == features.min(axis=0))
    if len(constant):
        raise DetectorError(
            f"Feature column {constant[0]} has one value only; leave it out of the features."
        )
    finite = all(np.isfinite(array).all() for array in (features, mass, weights))
    if not finite or mass.min() <= 0 or weights.min() <= 0:
        raise DetectorError(
            "A conditional density needs finite features, and positive masses and weights; drop "
            "the events that break this."
        )

"""A stand-in detector: Gaussian resolutions of energy, momentum and direction."""

import numpy as np
from numpy.typing import NDArray

from bumpscout_tools.simulation.card import DetectorCard
from bumpscout_tools.simulation.generator import Particles

__all__ = ["measure", "relative_resolution", "smear"]


def relative_resolution(particles: Particles, card: DetectorCard) -> NDArray[np.float64]:
    """Compute the relative resolution of each particle.

    sigma/E = a / sqrt(E) (+) b for photons, electrons and neutral hadrons,
    sigma/pT = c (+) d pT for tracks, (+) meaning in quadrature.

    Args:
        particles: n particles.
        card: resolutions.

    Returns:
        (n,) relative standard deviations.
    """
    pt = np.hypot(particles.momentum[:, 0], particles.momentum[:, 1])
    energy = np.sqrt(np.square(particles.momentum).sum(axis=1))
    root = 1.0 / np.sqrt(np.maximum(energy, 1e-6))
    photon = np.hypot(card.photon_stochastic * root, card.photon_constant)
    hadron = np.hypot(card.hadron_stochastic * root, card.hadron_constant)
    track = np.hypot(card.track_constant, card.track_slope_per_gev * pt)
    chosen: NDArray[np.float64] = np.select(
        [particles.electromagnetic, particles.charged], [photon, track], hadron
    )
    return chosen


def smear(
    particles: Particles, card: DetectorCard, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Measure particles, and forget which measured one is which; see `measure`.

    Returns:
        Counts (n_events,) and four-momenta (n_seen, 4) px, py, pz, E in GeV.
    """
    seen, momentum = measure(particles, card, rng)
    n_events = particles.counts.size
    event = np.repeat(np.arange(n_events), particles.counts)[seen]
    return np.bincount(event, minlength=n_events), momentum


def measure(
    particles: Particles, card: DetectorCard, rng: np.random.Generator
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Measure particles: smear their momenta and drop what the detector cannot see.

    Measured particles are massless, as energy-flow objects are.

    Args:
        particles: n particles of n_events events.
        card: resolutions and acceptance.
        rng: source of the smearing.

    Returns:
        (n,) which particles are seen, and their four-momenta (n_seen, 4) px, py, pz, E in GeV.
    """
    factor = 1.0 + relative_resolution(particles, card) * rng.standard_normal(
        len(particles.momentum)
    )
    angle = np.select(
        [particles.electromagnetic, particles.charged], [card.photon_angle, 0.0], card.hadron_angle
    )
    d_eta, d_phi = angle * rng.standard_normal((2, angle.size))
    px, py, pz = particles.momentum.T
    true_pt = np.maximum(np.hypot(px, py), 1e-9)
    pt = true_pt * np.maximum(factor, 0.0)
    eta = np.arcsinh(pz / true_pt) + d_eta
    phi = np.arctan2(py, px) + d_phi
    seen = (pt > 0.0) & (pt >= card.particle_pt_min_gev)
    seen &= np.abs(eta) <= card.particle_abs_eta_max
    pt, eta, phi = pt[seen], eta[seen], phi[seen]
    four = np.stack([np.cos(phi), np.sin(phi), np.sinh(eta), np.cosh(eta)], axis=1) * pt[:, None]
    return seen, four

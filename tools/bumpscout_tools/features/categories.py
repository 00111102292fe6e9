"""Event categories from the objects of an event: the triggers of the RMM search."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bumpscout_tools.features.rmm_objects import RmmObjects

__all__ = ["TRIGGERS", "object_triggers"]

BoolArray = npt.NDArray[np.bool_]

TRIGGERS: dict[str, str] = {
    "met": "missing transverse energy above 200 GeV",
    "lepton": "an electron or muon with pT above 60 GeV",
    "two-leptons": "two electrons or muons with pT above 25 GeV",
    "photon": "a photon with pT above 150 GeV",
    "two-photons": "two photons",
    "jet": "a jet (b-jets too) with pT above 500 GeV",
    "four-jets": "four jets (b-jets too) with pT above 200, 100, 100 and 100 GeV",
}
"""The seven categories of PRL 132 (2024) 081801; an event may belong to several or to none."""


def object_triggers(objects: RmmObjects) -> dict[str, BoolArray]:
    """Say which events pass the thresholds of `TRIGGERS`.

    They see the selected objects, so an object softer than the selection fires none of them.

    Args:
        objects: n events; at least four jets of each type and two electrons, muons and photons
            must have been allowed.

    Returns:
        (n,) by name, in the order of `TRIGGERS`.
    """
    leptons = _sorted(objects, ("mu", "e"), 2)
    photons = _sorted(objects, ("gamma",), 2)
    jets = _sorted(objects, ("j", "b"), 4)
    return {
        "met": objects.met[:, 0] > 200,
        "lepton": leptons[:, 0] > 60,
        "two-leptons": leptons[:, 1] > 25,
        "photon": photons[:, 0] > 150,
        "two-photons": photons[:, 1] > 0,
        "jet": jets[:, 0] > 500,
        "four-jets": (jets[:, 0] > 200) & (jets[:, 3] > 100),
    }


def _sorted(objects: RmmObjects, kinds: tuple[str, ...], n: int) -> npt.NDArray[np.float64]:
    pts = [objects.pt(f"{kind}{rank}") for kind in kinds for rank in range(1, n + 1)]
    return -np.sort(-np.column_stack(pts), axis=1)[:, :n]

"""The catalogue of features of views: what each is, its unit and source, and named sets of them."""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType
from typing import Literal

from bumpscout_tools.features.dijet import DIJET_FEATURES
from bumpscout_tools.features.jet_constituents import DELTA_ETA, constituent_names
from bumpscout_tools.features.rmm import rmm_columns
from bumpscout_tools.features.substructure import BETAS, N_MAX

__all__ = ["FEATURES", "FEATURE_SETS", "Inputs", "expand_sets", "inputs_of_features", "tau_name"]

Inputs = Literal["dijet", "rmm", "constituents"]
"""What a view may hold: features of two jets, the rapidity-mass matrix of all objects, or features
and constituents of two jets."""

_JETS = ("light", "heavy")
_SIDE = {"light": "the lighter jet", "heavy": "the heavier jet"}
_TREES = "arXiv:2309.13111"


def tau_name(n: int, beta: float, side: str) -> str:
    """Return the name of one subjettiness, such as ``tau3_beta05_light``."""
    return f"tau{n}_beta{f'{beta:g}'.replace('.', '')}_{side}"


def _subjettiness() -> dict[str, str]:
    texts = {
        f"tau{n + 1}{n}_{side}": f"tau_{n + 1}/tau_{n} of {_SIDE[side]}, beta = 1 ({_TREES})"
        for n in (3, 4)
        for side in _JETS
    }
    texts |= {
        tau_name(n, beta, side): f"tau_{n} of {_SIDE[side]}, beta = {beta:g} ({_TREES}, extended 3)"
        for beta in BETAS
        for n in range(1, N_MAX + 1)
        for side in _JETS
    }
    for side in _JETS:
        texts[f"msd_{side}"] = (
            f"TeV, soft-drop mass of {_SIDE[side]}, z_cut 0.1, beta 0 (arXiv:1402.2657)"
        )
        texts[f"n_{side}"] = f"number of constituents of {_SIDE[side]}"
        texts[f"btag_{side}"] = f"b-tag score of {_SIDE[side]}, 0 to 1, as the file has it"
    return texts


FEATURES: MappingProxyType[str, str] = MappingProxyType({**DIJET_FEATURES, **_subjettiness()})
"""Unit or formula, jet, and source of every feature that a view can have, by name.

Those of `DIJET_FEATURES` come with any two jets that have masses and tau_1 to tau_3; the others
where the events have constituents, or the file has such columns.
"""

_MASSES = ("mj_light", "mj_delta")
_BASELINE = (*_MASSES, "tau21_light", "tau21_heavy")

FEATURE_SETS: MappingProxyType[str, tuple[str, ...]] = MappingProxyType(
    {
        "baseline": _BASELINE,
        "extended-10": (
            *_MASSES,
            *(f"tau{n + 1}{n}_{side}" for n in range(1, 5) for side in _JETS),
        ),
        "extended-12": (
            *_MASSES,
            *(tau_name(n, 1.0, side) for n in range(1, 6) for side in _JETS),
        ),
        "extended-56": (
            *_MASSES,
            *(tau_name(n, b, side) for b in BETAS for n in range(1, N_MAX + 1) for side in _JETS),
        ),
        "rmm": tuple(column.name for column in rmm_columns()),
        "constituents": constituent_names(),
    }
)
"""Named sets of features: the baseline of arXiv:2109.00546 and the three extended sets of
arXiv:2309.13111 (ratios up to tau_54, tau_1 to tau_5, tau_1 to tau_9 for three exponents), where
m_J1 is the mass of the lighter jet and Delta m_J the difference of the two; ``rmm``, the 1287
inputs of the rapidity-mass matrix; ``constituents``, 3 numbers of 100 constituents of two jets."""


def expand_sets(names: Iterable[str]) -> tuple[str, ...]:
    """Put the members in the place of each named set; a feature that comes again is left out.

    >>> expand_sets(["baseline", "tau32_light", "mj_light"])
    ('mj_light', 'mj_delta', 'tau21_light', 'tau21_heavy', 'tau32_light')
    """
    members = (FEATURE_SETS.get(name, (name,)) for name in names)
    return tuple(dict.fromkeys(name for group in members for name in group))


def inputs_of_features(names: Iterable[str]) -> Inputs:
    """Return which view has these features: of the matrix or of constituents if any is of theirs.

    >>> inputs_of_features(["mj_light"]), inputs_of_features(["m_j1_b2"])
    ('dijet', 'rmm')
    >>> inputs_of_features(["mj_light", "deta_jj"])
    'constituents'
    """
    wanted = set(names)
    if not wanted.isdisjoint(FEATURE_SETS["rmm"]):
        return "rmm"
    if not wanted.isdisjoint((*FEATURE_SETS["constituents"], DELTA_ETA)):
        return "constituents"
    return "dijet"

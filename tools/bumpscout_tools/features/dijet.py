"""Dijet features: invariant mass, jet masses and subjettiness ratios of the two leading jets."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from bumpscout_tools.errors import InputDataError
from bumpscout_tools.events.lhco import FEATURE_COLUMNS
from bumpscout_tools.events.table import EventTable
from bumpscout_tools.events.view import View

__all__ = ["DIJET_FEATURES", "DropReport", "dijet_view", "pair_view", "tau_ratio"]

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

DIJET_FEATURES: dict[str, str] = {
    "mj_light": "TeV, mass of the lighter jet",
    "mj_heavy": "TeV, mass of the heavier jet",
    "mj_delta": "TeV, difference of the two jet masses",
    "tau21_light": "tau_2/tau_1 of the lighter jet",
    "tau21_heavy": "tau_2/tau_1 of the heavier jet",
    "tau32_light": "tau_3/tau_2 of the lighter jet",
    "tau32_heavy": "tau_3/tau_2 of the heavier jet",
}
TAU_FLOOR = 1e-5
"""Added to the denominator of a ratio, as in arXiv:2109.00546: tau_21 = tau_2 / (tau_1 + 1e-5)."""


MIN_MEDIAN_MASS_GEV = 15.0
MAX_TAU = 100.0
"""A subjettiness beyond this, in units of the jet radius, is taken for a damaged value."""


class DropReport(BaseModel):
    """How many events were lost on the way from the file to the view, and which were mended."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    n_read: int
    n_kept: int
    dropped: dict[str, int]
    mended: dict[str, int]


def dijet_view(table: EventTable) -> tuple[View, DropReport]:
    """Compute m_jj and the features of `DIJET_FEATURES` from the LHC Olympics feature columns.

    What becomes of unusable values is said at `pair_view`.

    Args:
        table: columns `FEATURE_COLUMNS`, momenta and masses in GeV.

    Returns:
        The view, in the order of the file with the row number as ``event_id``, and the counts.

    Raises:
        InputDataError: if a whole column is unusable or no event is left.
    """
    return pair_view({name: table.columns[name] for name in FEATURE_COLUMNS})


def pair_view(
    columns: Mapping[str, FloatArray],
    *,
    paired: BoolArray | None = None,
    more: Mapping[str, tuple[FloatArray, FloatArray]] = MappingProxyType({}),
) -> tuple[View, DropReport]:
    """Compute m_jj and the features of two jets an event.

    An event is kept where the momenta and masses of both jets are finite and m_jj is positive.
    Missing, negative or absurd subjettiness and negative jet masses of rounding size are mended to
    0 and counted, as are zeros, and a ratio whose denominator is 0 is 0; larger negative masses are
    dropped. No event is lost without being counted.

    Args:
        columns: (n,) each: ``px``, ``py``, ``pz``, ``m`` of ``j1`` and ``j2`` in GeV, and ``tau1``,
            ``tau2``, ``tau3`` of both where there is subjettiness.
        paired: (n,) which events have two jets at all; None for all of them.
        more: further features by name, (n,) of j1 and (n,) of j2: each becomes one of the lighter
            and one of the heavier jet. Values that are not finite become 0 and are counted.

    Returns:
        The view, in the order of the events with the row number as ``event_id``: the features of
        `DIJET_FEATURES` (those of subjettiness only where it is given), then the further ones.

    Raises:
        InputDataError: if a whole column is unusable or no event is left.
    """
    n = len(columns["mj1"])
    two = np.ones(n, dtype=bool) if paired is None else paired
    for name, values in columns.items():
        if two.any() and not np.isfinite(values[two]).any():
            raise InputDataError(
                f"Column {name} holds no finite value in {n} events; "
                "the file is damaged or the column was never filled."
            )
    kinematics = [
        columns[f"{name}{jet}"] for jet in ("j1", "j2") for name in ("px", "py", "pz", "m")
    ]
    finite = np.isfinite(kinematics).all(axis=0) & two
    mass_1, negative_1 = _mended_mass(columns["mj1"])
    mass_2, negative_2 = _mended_mass(columns["mj2"])
    physical = (mass_1 >= 0) & (mass_2 >= 0)
    with np.errstate(invalid="ignore", over="ignore"):
        m_jj = _invariant_mass(columns, np.maximum(mass_1, 0), np.maximum(mass_2, 0))
        heavy_is_1 = mass_1 >= mass_2
    positive = np.isfinite(m_jj) & (m_jj > 0)
    keep = finite & physical & positive
    dropped = {
        "fewer than two jets": int((~two).sum()),
        "momentum or jet mass not finite": int((two & ~finite).sum()),
        "negative jet mass": int((finite & ~physical).sum()),
        "m_jj not positive": int((finite & physical & ~positive).sum()),
    }
    if not keep.any():
        raise InputDataError(f"None of the {n} events is usable: {dropped}.")
    median = float(np.median(m_jj[keep]))
    if median < MIN_MEDIAN_MASS_GEV:
        raise InputDataError(
            f"The median dijet mass is {median:.3g} GeV, which no dijet sample of the LHC has; "
            "the momenta are probably in TeV. Convert them to GeV."
        )
    taus: dict[str, FloatArray] = {}
    mended = {"jet mass of rounding size below zero": int(((negative_1 | negative_2) & keep).sum())}
    for name in (c for c in columns if c.startswith("tau")):
        usable = np.isfinite(columns[name]) & (columns[name] >= 0) & (columns[name] <= MAX_TAU)
        taus[name] = np.where(usable, columns[name], 0.0)
        mended[f"{name} missing, negative or absurd"] = int((~usable & keep).sum())
        mended[f"{name} zero"] = int(((columns[name] == 0) & keep).sum())
    light = np.minimum(mass_1, mass_2) / 1000.0
    heavy = np.maximum(mass_1, mass_2) / 1000.0
    with np.errstate(invalid="ignore"):
        features = {"mj_light": light, "mj_heavy": heavy, "mj_delta": heavy - light}
    pairs = {
        f"tau{upper}{lower}": (
            tau_ratio(taus[f"tau{upper}j1"], taus[f"tau{lower}j1"]),
            tau_ratio(taus[f"tau{upper}j2"], taus[f"tau{lower}j2"]),
        )
        for upper, lower in ((2, 1), (3, 2))
        if f"tau{upper}j1" in taus and f"tau{lower}j1" in taus
    }
    for name, values_of in more.items():
        good = [np.isfinite(values) for values in values_of]
        mended[f"{name} missing"] = int((~(good[0] & good[1]) & keep).sum())
        pairs[name] = (
            np.where(good[0], values_of[0], 0.0),
            np.where(good[1], values_of[1], 0.0),
        )
    for name, (of_1, of_2) in pairs.items():
        features[f"{name}_light"] = np.where(heavy_is_1, of_2, of_1)
        features[f"{name}_heavy"] = np.where(heavy_is_1, of_1, of_2)
    view = View(
        event_id=np.flatnonzero(keep).astype(np.uint64),
        mass=m_jj[keep],
        features=np.column_stack([values[keep] for values in features.values()]),
        feature_names=tuple(features),
    )
    report = DropReport(
        n_read=n,
        n_kept=len(view),
        dropped={name: count for name, count in dropped.items() if count},
        mended={name: count for name, count in mended.items() if count},
    )
    return view, report


def tau_ratio(upper: FloatArray, lower: FloatArray) -> FloatArray:
    """Return tau_N+1 / (tau_N + `TAU_FLOOR`), (n,); 0 where tau_N is 0."""
    return np.where(lower > 0, upper / (lower + TAU_FLOOR), 0.0)


def _mended_mass(mass: FloatArray) -> tuple[FloatArray, BoolArray]:
    rounding = (mass < 0) & (mass > -1.0)
    return np.where(rounding, 0.0, mass), rounding


def _invariant_mass(
    columns: Mapping[str, FloatArray], mass_1: FloatArray, mass_2: FloatArray
) -> FloatArray:
    total = np.zeros_like(mass_1)
    for jet, mass in (("j1", mass_1), ("j2", mass_2)):
        momentum2 = sum(columns[f"{axis}{jet}"] ** 2 for axis in ("px", "py", "pz"))
        total = total + np.sqrt(mass**2 + momentum2)
    momentum2 = sum(
        (columns[f"{axis}j1"] + columns[f"{axis}j2"]) ** 2 for axis in ("px", "py", "pz")
    )
    mass2: FloatArray = total**2 - momentum2
    return np.sqrt(np.maximum(mass2, 0.0))

"""Dijet features: the mass formula, the ordering of the jets, and the fate of awkward values."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np
import pytest

from bumpscout_tools.errors import InputDataError
from bumpscout_tools.events.lhco import FEATURE_COLUMNS
from bumpscout_tools.events.table import EventTable
from bumpscout_tools.features.dijet import DIJET_FEATURES, dijet_view


def columns(n: int = 40, seed: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    out = {}
    for jet in ("j1", "j2"):
        for axis in ("px", "py", "pz"):
            out[f"{axis}{jet}"] = rng.normal(0, 1500, n)
        out[f"m{jet}"] = rng.uniform(20, 500, n)
        out[f"tau1{jet}"] = rng.uniform(0.3, 0.6, n)
        out[f"tau2{jet}"] = rng.uniform(0.1, 0.3, n)
        out[f"tau3{jet}"] = rng.uniform(0.02, 0.1, n)
    return out


def table(content: dict[str, np.ndarray]) -> EventTable:
    return EventTable(MappingProxyType(content), format="test")


def feature(view, name: str) -> np.ndarray:
    return view.features[:, view.feature_names.index(name)]


def test_mass_from_transverse_momentum_rapidity_and_angle() -> None:
    """m^2 = m1^2 + m2^2 + 2 (ET1 ET2 cosh(y1 - y2) - pT1 pT2 cos(phi1 - phi2))."""
    c = columns()
    view, _ = dijet_view(table(c))
    pt, phi, et, y = [], [], [], []
    for jet in ("j1", "j2"):
        p_t = np.hypot(c[f"px{jet}"], c[f"py{jet}"])
        e_t = np.hypot(p_t, c[f"m{jet}"])
        pt.append(p_t)
        et.append(e_t)
        phi.append(np.arctan2(c[f"py{jet}"], c[f"px{jet}"]))
        y.append(np.arcsinh(c[f"pz{jet}"] / e_t))
    product = et[0] * et[1] * np.cosh(y[0] - y[1]) - pt[0] * pt[1] * np.cos(phi[0] - phi[1])
    mass = np.sqrt(c["mj1"] ** 2 + c["mj2"] ** 2 + 2 * product)
    np.testing.assert_allclose(view.mass, mass, rtol=1e-10)


def test_two_massless_jets_back_to_back_have_twice_the_momentum() -> None:
    c = columns(1)
    for axis in ("px", "py", "pz"):
        c[f"{axis}j2"] = -c[f"{axis}j1"]
    c["mj1"] = c["mj2"] = np.zeros(1)
    view, report = dijet_view(table(c))
    p = np.sqrt(sum(c[f"{axis}j1"][0] ** 2 for axis in ("px", "py", "pz")))
    assert view.mass[0] == pytest.approx(2 * p, rel=1e-12)
    assert report.dropped == {}


def test_jets_are_ordered_by_mass_with_their_own_ratios() -> None:
    c = columns(2)
    c["mj1"], c["mj2"] = np.array([100.0, 300.0]), np.array([250.0, 50.0])
    view, _ = dijet_view(table(c))
    np.testing.assert_allclose(feature(view, "mj_light"), [0.1, 0.05])
    np.testing.assert_allclose(feature(view, "mj_heavy"), [0.25, 0.3])
    np.testing.assert_allclose(feature(view, "mj_delta"), [0.15, 0.25])
    for name, upper, lower in (("tau21", "tau2", "tau1"), ("tau32", "tau3", "tau2")):
        ratio = {jet: c[f"{upper}{jet}"] / c[f"{lower}{jet}"] for jet in ("j1", "j2")}
        light = [ratio["j1"][0], ratio["j2"][1]]
        heavy = [ratio["j2"][0], ratio["j1"][1]]
        np.testing.assert_allclose(feature(view, f"{name}_light"), light, rtol=2e-4)
        np.testing.assert_allclose(feature(view, f"{name}_heavy"), heavy, rtol=2e-4)


def test_swapping_the_jets_of_the_file_changes_nothing() -> None:
    c = columns()
    swapped = {
        f"{name[:-2]}{'j2' if name.endswith('j1') else 'j1'}": values for name, values in c.items()
    }
    one, other = dijet_view(table(c))[0], dijet_view(table(swapped))[0]
    np.testing.assert_allclose(one.mass, other.mass, rtol=1e-14)
    np.testing.assert_array_equal(one.features, other.features)


def test_a_permutation_of_the_rows_permutes_the_view() -> None:
    c = columns()
    order = np.random.default_rng(2).permutation(40)
    view = dijet_view(table(c))[0]
    permuted = dijet_view(table({name: values[order] for name, values in c.items()}))[0]
    np.testing.assert_array_equal(permuted.mass, view.mass[order])
    np.testing.assert_array_equal(permuted.features, view.features[order])


def test_every_event_is_kept_or_counted() -> None:
    c = columns(40)
    c["pxj1"][0] = np.nan
    c["mj2"][1] = np.inf
    c["mj1"][2] = -50.0
    for name in ("pxj1", "pyj1", "pzj1", "pxj2", "pyj2", "pzj2", "mj1", "mj2"):
        c[name][3] = 0.0
    c["mj2"][4] = -0.3
    c["tau1j1"][5] = np.nan
    c["tau1j1"][6] = -1.0
    c["tau3j2"][7] = 0.0
    c["mj1"][8] = c["mj2"][8] = 0.0
    c["pzj2"][9] = 1e300
    view, report = dijet_view(table(c))
    assert report.dropped == {
        "momentum or jet mass not finite": 2,
        "negative jet mass": 1,
        "m_jj not positive": 2,
    }
    assert report.mended == {
        "jet mass of rounding size below zero": 1,
        "tau1j1 missing, negative or absurd": 2,
        "tau3j2 zero": 1,
    }
    assert report.n_read == 40
    assert report.n_kept == len(view) == 35 == 40 - sum(report.dropped.values())
    np.testing.assert_array_equal(view.event_id, [*range(4, 9), *range(10, 40)])
    assert np.isfinite(view.features).all()
    assert (feature(view, "mj_light") >= 0).all()


def test_events_without_any_subjettiness_survive() -> None:
    c = columns(10)
    for name in c:
        if name.startswith("tau"):
            c[name][:4] = 0.0
    view, report = dijet_view(table(c))
    assert len(view) == 10
    assert all(report.mended[f"{name} zero"] == 4 for name in c if name.startswith("tau"))
    np.testing.assert_array_equal(feature(view, "tau21_light")[:4], 0.0)


@pytest.mark.parametrize("name", ["mj1", "tau2j2", "pxj1"])
def test_a_column_without_numbers_is_an_error_that_names_it(name: str) -> None:
    c = columns()
    c[name][:] = np.nan
    with pytest.raises(InputDataError, match=name):
        dijet_view(table(c))


def test_nothing_usable_says_why() -> None:
    c = columns(3)
    c["mj1"][:] = -100.0
    with pytest.raises(InputDataError, match=r"None of the 3 events.*negative jet mass"):
        dijet_view(table(c))


def test_every_feature_says_its_unit_or_formula() -> None:
    view, _ = dijet_view(table(columns(2)))
    assert view.feature_names == tuple(DIJET_FEATURES)
    assert all("TeV" in text or "tau" in text for text in DIJET_FEATURES.values())
    assert set(FEATURE_COLUMNS) == set(columns(1))

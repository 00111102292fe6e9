"""The bundled sample is what its truth file says, and is hard enough to be worth a search."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from bumpscout_tools.simulation import dijet_mass, read_features_h5

ROOT = Path(__file__).resolve().parents[3]
SAMPLE = ROOT / "src" / "bumpscout" / "samples" / "dijet_demo.h5"
BOXES = ROOT / "validation" / "boxes"


def test_the_signal_is_the_one_of_the_truth_file_and_too_small_to_see_without_a_cut() -> None:
    truth = json.loads((BOXES / "dijet_demo.truth.json").read_text())
    table = read_features_h5(SAMPLE)
    signal = table["label"] == 1
    assert len(table) == truth["n_background"] + truth["n_signal"]
    assert signal.sum() == truth["n_signal"]
    mass = dijet_mass(table)
    assert np.median(mass[signal]) == pytest.approx(truth["resonance_mass_gev"], rel=0.03)
    near = np.abs(mass / truth["resonance_mass_gev"] - 1) < 0.05
    assert (near & signal).sum() / np.sqrt((near & ~signal).sum()) == pytest.approx(2.6, abs=0.05)


def test_nothing_but_the_label_tells_signal_from_background() -> None:
    table = read_features_h5(SAMPLE)
    signal = np.flatnonzero(table["label"] == 1)
    # Uniform row numbers have a mean of 1/2 and a standard deviation of 1/sqrt(12 n).
    assert abs(signal.mean() / len(table) - 0.5) < 4 / np.sqrt(12 * signal.size)
    for name in ("pxj1", "mj2", "tau1j1"):
        mantissa = np.frexp(table[name])[0] * 2.0**12
        assert (mantissa == np.rint(mantissa)).all()


def test_the_file_is_small_and_its_card_keeps_the_secret() -> None:
    assert SAMPLE.stat().st_size < 4_000_000
    text = SAMPLE.with_name("dijet_demo.card.yaml").read_text()
    assert not {"signals", "n_background"} & set(yaml.safe_load(text))
    truth = json.loads((BOXES / "dijet_demo.truth.json").read_text())
    for number in (truth["resonance_mass_gev"], truth["n_signal"], *truth["daughter_masses_gev"]):
        assert f"{number:g}" not in text

"""Real generation with Pythia and FastJet; skipped without the extra ``sim``."""

from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from multiprocessing import get_context

import numpy as np
import pytest
from numpy.typing import NDArray

from bumpscout_tools.simulation import (
    BACKGROUND,
    Chunk,
    GenerationError,
    SignalCard,
    SimulationCard,
    dijet_mass,
    simulate,
    simulate_chunk,
)

pytestmark = pytest.mark.skipif(
    find_spec("pythia8mc") is None or find_spec("fastjet") is None,
    reason="simulating needs Pythia and FastJet: pip install 'bumpscout[sim]'",
)

CARD = SimulationCard(
    n_background=50,
    signals=(SignalCard(resonance_mass_gev=3500, daughter_masses_gev=(500, 100), n_events=60),),
    seed=11,
    chunk_size=30,
)


@pytest.fixture(scope="module")
def events() -> NDArray[np.void]:
    return simulate(CARD)


def test_the_card_decides_how_many_events_and_all_pass_the_same_cuts(
    events: NDArray[np.void],
) -> None:
    assert np.bincount(events["label"].astype(int)).tolist() == [50, 60]
    pt1 = np.hypot(events["pxj1"], events["pyj1"])
    pt2 = np.hypot(events["pxj2"], events["pyj2"])
    assert pt1.min() >= 1200
    assert (pt1 >= pt2).all()
    for jet, pt in (("j1", pt1), ("j2", pt2)):
        assert np.abs(np.arcsinh(events[f"pz{jet}"] / pt)).max() < 2.5


def test_rows_are_shuffled(events: NDArray[np.void]) -> None:
    assert 15 < events["label"][:55].sum() < 45


def test_signal_peaks_at_the_masses_of_the_card(events: NDArray[np.void]) -> None:
    signal = events[events["label"] == 1]
    assert np.median(dijet_mass(signal)) == pytest.approx(3500, rel=0.05)
    light, heavy = np.sort(np.stack([signal["mj1"], signal["mj2"]]), axis=0)
    assert np.median(light) == pytest.approx(100, rel=0.1)
    assert np.median(heavy) == pytest.approx(500, rel=0.05)


def test_signal_jets_are_more_two_pronged_than_background(events: NDArray[np.void]) -> None:
    tau21 = {
        label: np.median((of["tau2j1"] + of["tau2j2"]) / (of["tau1j1"] + of["tau1j2"]))
        for label in (0, 1)
        for of in [events[events["label"] == label]]
    }
    assert tau21[1] < 0.4 < tau21[0]


def test_subjettiness_falls_with_the_number_of_axes(events: NDArray[np.void]) -> None:
    falling = (events["tau1j1"] >= events["tau2j1"]) & (events["tau2j1"] >= events["tau3j1"])
    assert falling.mean() > 0.9
    assert events["tau1j1"].max() < 1.0


def test_same_seed_same_events_and_another_seed_others(events: NDArray[np.void]) -> None:
    chunk = Chunk(BACKGROUND, 1, 20)
    again = simulate_chunk(CARD, chunk)
    mine = {row.tobytes() for row in again}
    assert mine <= {row.tobytes() for row in events}
    other = simulate_chunk(CARD.model_copy(update={"seed": 12}), chunk)
    assert not mine & {row.tobytes() for row in other}


def test_workers_do_not_change_the_events(events: NDArray[np.void]) -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        assert (simulate(CARD, executor) == events).all()


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    simulate_chunk(CARD, Chunk(0, 0, 5))
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""


def test_a_cut_that_nothing_passes_is_an_error_with_a_remedy() -> None:
    card = SimulationCard(n_background=1, pt_hat_min_gev=100, leading_jet_pt_min_gev=6000)
    with pytest.raises(GenerationError, match=r"above leading_jet_pt_min_gev = 6000 GeV; lower"):
        simulate_chunk(card, Chunk(BACKGROUND, 0, 1))

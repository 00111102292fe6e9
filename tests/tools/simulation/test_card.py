"""The card of a simulation and the error for a missing extra."""

import sys

import pytest
from pydantic import ValidationError

from bumpscout_tools.errors import ToolsError
from bumpscout_tools.simulation import (
    BACKGROUND,
    Chunk,
    MissingExtraError,
    SignalCard,
    SimulationCard,
    chunks,
    simulate,
)


def signal(mass: float = 3500, n_events: int = 10) -> SignalCard:
    return SignalCard(resonance_mass_gev=mass, daughter_masses_gev=(500, 100), n_events=n_events)


def test_unknown_keys_are_errors_also_inside() -> None:
    with pytest.raises(ValidationError, match="n_backgrund"):
        SimulationCard.model_validate({"n_backgrund": 10})
    with pytest.raises(ValidationError, match="photon_const"):
        SimulationCard.model_validate({"detector": {"photon_const": 0.1}})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"signals": [signal(14_000)]}, r"signals\[0\]: resonance_mass_gev 14000 is not below"),
        ({"signals": [signal(2_000)]}, r"signals\[0\]: jets from 2000 GeV hardly reach"),
        ({"signals": [signal(), signal()]}, "two signals have the same masses"),
        ({"pt_hat_min_gev": 7_000}, "pt_hat_min_gev 7000 is not below half"),
        ({"sqrt_s_gev": float("inf")}, "finite"),
    ],
)
def test_impossible_cards_say_what_to_change(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SimulationCard.model_validate(change)


def test_a_closed_decay_is_refused() -> None:
    with pytest.raises(ValidationError, match="cannot decay to 2000 \\+ 1500 GeV"):
        SignalCard(resonance_mass_gev=3500, daughter_masses_gev=(2000, 1500), n_events=1)


def test_chunks_cover_the_card() -> None:
    card = SimulationCard(n_background=25, signals=(signal(n_events=10),), chunk_size=10)
    assert list(chunks(card)) == [
        Chunk(BACKGROUND, 0, 10),
        Chunk(BACKGROUND, 1, 10),
        Chunk(BACKGROUND, 2, 5),
        Chunk(0, 0, 10),
    ]


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pythia8mc", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'bumpscout\[sim\]'") as caught:
        simulate(SimulationCard(n_background=1))
    assert isinstance(caught.value, ToolsError)
    assert caught.value.exit_code == 2

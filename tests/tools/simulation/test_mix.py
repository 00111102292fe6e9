"""Boxes from chunks: amounts, order, truth and the raw layout; no generator needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from bumpscout_tools.events.lhco import LABEL
from bumpscout_tools.simulation import (
    BACKGROUND,
    BoxCard,
    BoxError,
    BoxSignal,
    Chunk,
    SimulatedEvents,
    StoredChunk,
    dijet_mass,
    draw_hidden,
    fixed_chunks,
    missing_chunk,
    mix,
    open_chunk,
    raw_blocks,
    thin_signal,
    write_raw_h5,
    write_unlabelled_h5,
)
from bumpscout_tools.simulation.layout import empty_table, round_mantissa
from bumpscout_tools.simulation.store import chunk_name, detector_coordinates


def signal(**entries: Any) -> BoxSignal:
    return BoxSignal.model_validate(
        {"resonance_mass_gev": 3500, "daughter_masses_gev": (500, 100), **entries}
    )


def table(mass_gev: NDArray[np.float64], label: float) -> NDArray[np.void]:
    made = empty_table(len(mass_gev))
    made["pxj1"], made["pxj2"] = mass_gev / 2, -mass_gev / 2
    made["tau1j1"] = np.arange(len(mass_gev))
    made[LABEL] = label
    return made


@pytest.fixture
def card() -> BoxCard:
    return BoxCard(
        n_background=3000, signals=(signal(n_events=400, strength=2.0),), seed=5, chunk_size=1500
    )


@pytest.fixture
def tables() -> list[NDArray[np.void]]:
    rng = np.random.default_rng(8)
    background = [table(rng.uniform(2000, 5000, 1500), 0) for _ in range(2)]
    return [*background, table(rng.normal(3500, 120, 400), 1)]


def test_a_strength_is_signal_over_the_root_of_the_background_near_the_mass(
    card: BoxCard, tables: list[NDArray[np.void]]
) -> None:
    chunks = fixed_chunks(card)
    assert chunks == [Chunk(BACKGROUND, 0, 1500), Chunk(BACKGROUND, 1, 1500), Chunk(0, 0, 400)]
    box = mix(card, chunks, tables)
    mass = dijet_mass(box.table)
    near = (mass >= 3325) & (mass < 3675)
    n_background = int((near & (box.process == 0)).sum())
    n_signal = int((near & (box.process == 1)).sum())
    assert n_signal == round(2.0 * np.sqrt(n_background))
    assert box.signals[0][1:] == (n_signal, n_background)
    assert (box.process == 0).sum() == 3000
    assert (box.table[LABEL] == box.process).all()


def test_a_pool_is_thinned_as_the_bundled_sample_was(
    card: BoxCard, tables: list[NDArray[np.void]]
) -> None:
    rounded = card.model_copy(update={"mantissa_bits": 12})
    box = mix(rounded, fixed_chunks(card), tables)
    whole = np.concatenate(tables)
    for name in whole.dtype.names or ():
        whole[name] = round_mantissa(whole[name], 12)
    whole = whole[np.random.default_rng(np.random.SeedSequence([5])).permutation(len(whole))]
    rng = np.random.default_rng(np.random.SeedSequence([5, 12]))
    thinned = thin_signal(whole, box.signals[0].n_in_window, (3325.0, 3675.0), rng)
    assert (box.table == thinned).all()


def test_each_row_leads_back_to_its_chunk(card: BoxCard, tables: list[NDArray[np.void]]) -> None:
    box = mix(card, fixed_chunks(card), tables)
    for number, row, event in zip(box.chunk[:50], box.row[:50], box.table[:50], strict=True):
        assert tables[number][row] == event


def test_truth_labels_count_the_signals_and_order_tells_nothing(
    tables: list[NDArray[np.void]],
) -> None:
    other = signal(resonance_mass_gev=4200, n_events=400)
    both = BoxCard(n_background=3000, signals=(signal(n_events=400), other), chunk_size=1500)
    box = mix(both, fixed_chunks(both), [*tables, table(np.full(400, 4200.0), 1)])
    assert np.bincount(box.process).tolist() == [3000, 400, 400]
    assert set(box.table[LABEL]) == {0.0, 1.0}
    rows = np.flatnonzero(box.process == 2) / len(box.process)
    assert abs(rows.mean() - 0.5) < 4 / np.sqrt(12 * 400)


def test_a_signal_by_strength_alone_asks_for_chunks_until_there_are_enough(
    tables: list[NDArray[np.void]],
) -> None:
    card = BoxCard(n_background=3000, signals=(signal(strength=8.0),), chunk_size=1500)
    chunks, have = fixed_chunks(card), tables[:2]
    rng = np.random.default_rng(3)
    asked = 0
    while (chunk := missing_chunk(card, 0, chunks, have)) is not None:
        assert chunk.number == asked
        asked += 1
        chunks, have = [*chunks, chunk], [*have, table(rng.normal(3500, 400, chunk.n_events), 1)]
    assert asked > 0
    box = mix(card, chunks, have)
    assert box.signals[0].n_in_window == round(8 * np.sqrt(box.signals[0].n_background_in_window))


def test_a_pool_that_is_too_small_says_so(card: BoxCard, tables: list[NDArray[np.void]]) -> None:
    few = card.model_copy(update={"signals": (signal(n_events=400, strength=60.0),)})
    with pytest.raises(BoxError, match=r"asks for \d+ events within 5% of its mass and the pool"):
        mix(few, fixed_chunks(few), tables)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"n_background": 10, "signals": [{}]}, "n_events or strength"),
        ({"signals": [{"strength": 2.0}]}, "there is no background"),
        ({}, "neither background nor signal"),
    ],
)
def test_boxes_that_cannot_be_made_say_why(entries: dict[str, Any], message: str) -> None:
    masses = {"resonance_mass_gev": 3500, "daughter_masses_gev": (500, 100)}
    signals = [{**masses, **given} for given in entries.pop("signals", [])]
    with pytest.raises(ValidationError, match=message):
        BoxCard.model_validate({**entries, "signals": signals})


def test_hidden_masses_come_from_the_seed_and_keep_what_is_given() -> None:
    drawn = [draw_hidden({}, seed, 0, 1200.0) for seed in range(200)]
    assert draw_hidden({}, 7, 0, 1200.0) == drawn[7] != draw_hidden({}, 7, 1, 1200.0)
    masses = [entry["resonance_mass_gev"] for entry in drawn]
    assert 2800 <= min(masses) < 3000 < 5000 < max(masses) <= 5200
    assert {prongs for entry in drawn for prongs in entry["prongs"]} == {2, 3}
    for entry in drawn:
        assert all(
            80 <= m <= 0.22 * entry["resonance_mass_gev"] for m in entry["daughter_masses_gev"]
        )
        BoxSignal.model_validate({**entry, "strength": 3.0})
    kept = draw_hidden({"resonance_mass_gev": 4000.0, "strength": 2.0}, 7, 0, 1200.0)
    assert (kept["resonance_mass_gev"], kept["strength"]) == (4000.0, 2.0)
    assert kept["prongs"] == drawn[7]["prongs"]
    with pytest.raises(BoxError, match="too light for hidden daughters"):
        draw_hidden({"resonance_mass_gev": 300.0}, 7, 0, 1200.0)


def massless(pt: float, eta: float, phi: float) -> list[float]:
    return [pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta), pt * np.cosh(eta)]


def test_particles_are_written_hardest_first_and_at_most_700() -> None:
    rng = np.random.default_rng(2)
    many = [massless(pt, 0.1, 0.2) for pt in rng.permutation(np.arange(1.0, 712.0))]
    few = [massless(3.0, -1.5, 3.0), massless(40.0, 2.0, -2.5)]
    events = SimulatedEvents(empty_table(2), np.array([2, 711]), np.array([*few, *many]))
    offsets, flat, n_cut = detector_coordinates(events)
    assert offsets.tolist() == [0, 2, 702]
    assert n_cut == 11
    np.testing.assert_allclose(flat[:2], [[40.0, 2.0, -2.5], [3.0, -1.5, 3.0]], rtol=1e-6)
    np.testing.assert_allclose(flat[2:, 0], np.arange(711.0, 11.0, -1.0), rtol=1e-6)


def test_a_raw_file_has_the_official_layout_and_the_rows_of_the_box(
    card: BoxCard, tables: list[NDArray[np.void]], tmp_path: Path
) -> None:
    box = mix(card, fixed_chunks(card), tables)
    particles = [
        np.repeat(each["tau1j1"], 2).reshape(-1, 1) + np.array([[0.25, 0.5, 0.75]], np.float32)
        for each in tables
    ]
    stored = [
        StoredChunk(each, 2 * np.arange(len(each) + 1), flat, 0)
        for each, flat in zip(tables, particles, strict=True)
    ]
    path = tmp_path / "box.raw.h5"
    write_raw_h5(path, len(box.table), raw_blocks(box, stored.__getitem__), box.process)
    with h5py.File(path) as file:
        values = file["df/block0_values"]
        assert values.shape == (len(box.table), 2101)
        assert file["df/axis0"][:].tolist() == list(range(2101))
        rows = values[:]
    expected = box.table["tau1j1"][:, None] + np.array([0.25, 0.5, 0.75] * 2)
    np.testing.assert_allclose(rows[:, :6], expected)
    assert not rows[:, 6:2100].any()
    assert (rows[:, 2100] == box.process).all()
    write_raw_h5(tmp_path / "again.h5", len(box.table), raw_blocks(box, stored.__getitem__))
    with h5py.File(tmp_path / "again.h5") as file:
        assert file["df/block0_values"].shape == (len(box.table), 2100)
    with pytest.raises(ValueError, match="rows for a file of"):
        write_raw_h5(path, len(box.table) + 1, raw_blocks(box, stored.__getitem__))


def test_a_damaged_chunk_is_named(tmp_path: Path) -> None:
    chunk = Chunk(0, 3, 10)
    np.save(tmp_path / f"{chunk_name(chunk)}.events.npy", empty_table(9))
    (tmp_path / f"{chunk_name(chunk)}.json").write_text('{"n_cut": 0}')
    with pytest.raises(BoxError, match=r"signal1_00003_10 is damaged"):
        open_chunk(tmp_path, chunk, particles=False)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_disk_raises_and_does_not_crash_the_process() -> None:
    full = Path("/dev/full")
    blocks = [np.ones((50, 2100), dtype=np.float32)] * 4
    with pytest.raises(OSError, match="No space left"):
        write_raw_h5(full, 200, blocks)
    with pytest.raises(OSError, match="No space left"):
        write_unlabelled_h5(full, table(np.full(200, 3000.0), 0))

"""The command `simulate`, from options to files."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from bumpscout.simulate_command import simulate
from bumpscout.simulate_options import Simulating, box_card, read_card, signal_entries
from bumpscout_tools.errors import ConfigurationError
from bumpscout_tools.events.lhco import FEATURE_COLUMNS, read_features, read_labels
from bumpscout_tools.events.open import open_events
from bumpscout_tools.features.views import view_of

needs_sim = pytest.mark.skipif(
    find_spec("pythia8mc") is None or find_spec("fastjet") is None,
    reason="simulating needs Pythia and FastJet: pip install 'bumpscout[sim]'",
)

CARD = {
    "n_background": 120,
    "signals": [
        {"resonance_mass_gev": 3500, "daughter_masses_gev": [500, 100], "n_events": 30},
        {
            "resonance_mass_gev": 4200,
            "daughter_masses_gev": [300, 200],
            "prongs": [2, 3],
            "strength": 2.0,
        },
    ],
    "seed": 3,
    "chunk_size": 40,
}


@pytest.fixture
def card(tmp_path: Path) -> Path:
    path = tmp_path / "card.yaml"
    path.write_text(yaml.safe_dump(CARD))
    return path


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "card.json"
    }


@needs_sim
def test_a_box_keeps_its_truth_apart_and_is_the_same_for_any_number_of_workers(
    bumpscout, card, tmp_path
):
    options = ("--card", card, "--layout", "both", "--json")
    done = bumpscout("simulate", "--out", "two", "--workers", 2, *options)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    out = tmp_path / "two"
    assert sorted(path.name for path in out.iterdir()) == [
        "box.h5",
        "box.raw.h5",
        "card.json",
        "truth",
    ]
    public = (out / "card.json").read_text() + done.stdout
    for secret in ("3500", "4200", "500", "signals", "n_background"):
        assert secret not in public.replace("13000", "")
    truth = json.loads((out / "truth" / "truth.json").read_text())
    labels = np.loadtxt(out / "truth" / "box.masterkey", dtype=int)
    assert len(labels) == report["n_events"]
    assert np.bincount(labels).tolist() == [120, 30, truth["signals"][1]["n_events"]]
    came = truth["signals"][1]
    assert came["n_signal_in_window"] == round(2.0 * came["n_background_in_window"] ** 0.5)

    features = read_features(out / "box.h5")
    assert features.n_events == len(labels)
    with h5py.File(out / "box.h5") as file:
        assert [name.decode() for name in file["df/axis0"]] == list(FEATURE_COLUMNS)
    with h5py.File(out / "box.raw.h5") as file:
        raw = file["df/block0_values"][:]
    assert raw.shape == (len(labels), 2100)
    hardest = raw[:, 0]
    assert (hardest >= raw[:, 3]).all()
    leading = np.hypot(features.columns["pxj1"], features.columns["pyj1"])
    assert (hardest < leading * 1.001).all()
    (of_features, _), (of_particles, _) = (
        view_of(open_events(out / name)) for name in ("box.h5", "box.raw.h5")
    )
    np.testing.assert_allclose(of_particles.mass, of_features.mass, rtol=1e-6)
    for column, name in enumerate(of_features.feature_names):
        again = of_particles.features[:, of_particles.feature_names.index(name)]
        np.testing.assert_allclose(again, of_features.features[:, column], rtol=1e-3, atol=1e-3)

    alone = bumpscout("simulate", "--out", "one", "--workers", 1, *options)
    assert alone.returncode == 0, alone.stderr
    assert digests(tmp_path / "one") == digests(out)
    again = bumpscout("simulate", "--out", "one", *options)
    assert json.loads(again.stdout)["went_on"]
    repeated = bumpscout(
        "simulate", "--out", "three", "--card", out / "truth" / "truth.json", "--workers", 1
    )
    assert repeated.returncode == 0, repeated.stderr
    assert digests(tmp_path / "three")["box.h5"] == digests(out)["box.h5"]


@needs_sim
def test_a_killed_simulation_goes_on_and_comes_to_the_same_box(bumpscout, card, tmp_path):
    whole = bumpscout("simulate", "--out", "whole", "--card", card, "--workers", 1)
    assert whole.returncode == 0, whole.stderr
    command = [sys.executable, "-m", "bumpscout", "simulate", "--out", "cut", "--card", str(card)]
    chunks = tmp_path / "cut" / "chunks"
    for number in (signal.SIGKILL, signal.SIGINT):
        before = len(list(chunks.glob("*.json")))
        running = subprocess.Popen(
            [*command, "--workers", "1"],
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 120
        while len(list(chunks.glob("*.json"))) <= before and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(running.pid, number)
        code = running.wait()
        assert code == (-signal.SIGKILL if number == signal.SIGKILL else 130)
    assert len(list(chunks.glob("*.json"))) >= 2
    other = bumpscout("simulate", "--out", "cut", "--events", 10)
    assert other.returncode == 2
    assert "other settings" in other.stderr
    gone_on = bumpscout("simulate", "--out", "cut", "--card", card, "--workers", 1)
    assert gone_on.returncode == 0, gone_on.stderr
    assert digests(tmp_path / "cut") == digests(tmp_path / "whole")


@needs_sim
def test_hidden_masses_are_in_the_truth_file_alone_and_stay_when_it_goes_on(bumpscout, tmp_path):
    options = ("--hidden", "--events", 60, "--workers", 1, "--truth", "apart", "--labelled")
    done = bumpscout("simulate", "--out", "box", "--signal", "n=15", *options)
    assert done.returncode == 0, done.stderr
    truth = json.loads((tmp_path / "apart" / "truth.json").read_text())
    mass = truth["signals"][0]["resonance_mass_gev"]
    public = done.stdout + done.stderr + (tmp_path / "box" / "card.json").read_text()
    assert f"{mass:g}" not in public
    assert f"{truth['card']['seed']}" not in public
    assert read_labels(tmp_path / "box" / "box.h5").sum() == 15
    again = bumpscout("simulate", "--out", "box", "--signal", "n=15", *options)
    assert again.returncode == 0
    assert "is there already" in again.stdout
    elsewhere = bumpscout("simulate", "--out", "box", "--events", 60)
    assert elsewhere.returncode == 2
    assert "Give another --out, or its --truth" in " ".join(elsewhere.stderr.split())


@needs_sim
@pytest.mark.parametrize(
    ("kilobytes", "options"), [(200, "--layout raw --workers 1"), (2, "--workers 1")]
)
def test_a_full_disk_is_told_and_what_was_simulated_is_kept(card, tmp_path, kilobytes, options):
    command = f"{sys.executable} -m bumpscout simulate --out box --card {card} {options}"
    done = subprocess.run(
        ["/bin/bash", "-c", f"ulimit -f {kilobytes}; exec {command}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    said = " ".join(done.stderr.split())
    assert "Cannot write" in said
    assert "the same command goes on" in said
    assert not list(tmp_path.rglob("*.part"))
    assert not list(tmp_path.rglob("box*.h5"))
    for finished in tmp_path.rglob("background*.json"):
        assert len(np.load(finished.with_suffix(".events.npy"))) == 40


def test_without_the_extra_a_sentence_and_exit_code_2(tmp_path):
    blocked = "import sys; sys.modules['pythia8mc'] = None; from bumpscout.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", blocked, "simulate", "--out", "box"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "pip install 'bumpscout[sim]'" in " ".join(done.stderr.split())
    assert not (tmp_path / "box").exists()


def test_a_box_that_does_not_fit_on_the_disk_is_refused_before_it_is_begun(tmp_path):
    if find_spec("pythia8mc") is None or find_spec("fastjet") is None:
        pytest.skip("simulating needs Pythia and FastJet: pip install 'bumpscout[sim]'")
    options = ["--out", str(tmp_path / "box"), "--events", "100000000", "--layout", "raw"]
    done = CliRunner().invoke(simulate, options)
    assert done.exit_code == 2
    assert "The box needs about 800000 MB" in " ".join(done.output.split())
    assert not (tmp_path / "box").exists()


def test_a_signal_in_short_says_all_there_is_to_say():
    given = signal_entries("mass=4200, x=350,y=150,strength=2.5,prongs=2+3,width=400")
    assert given == {
        "resonance_mass_gev": 4200.0,
        "daughter_masses_gev": (350.0, 150.0),
        "strength": 2.5,
        "prongs": (2, 3),
        "resonance_width_gev": 400.0,
    }
    assert signal_entries("prongs=3")["prongs"] == (3, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mass=3500,x=500,y=100", "n_events or strength"),
        ("x=500,y=100,n=3", "it gives no mass; --hidden draws"),
        ("mass=3500,n=3", "it gives no x and y"),
        ("mass=3500,x=500,n=3", "give both x and y"),
        ("mass=3500,mass=3600", "mass is given twice"),
        ("m=3500", "is not one of mass, x, y"),
        ("mass=heavy", "mass is 'heavy', no number"),
        ("n=1.5", "no whole number"),
        ("prongs=4", "prongs is 2, 3, 2"),
        ("mass=3500,x=3000,y=900,n=3", "cannot decay to 3000 \\+ 900"),
        ("mass=3500,x=500,y=100,n=-3", "greater than or equal to 0"),
        ("mass=2000,x=500,y=100,n=3", "hardly reach leading_jet_pt_min_gev"),
    ],
)
def test_signals_that_cannot_be_are_told_with_an_example(text, message):
    with pytest.raises(ConfigurationError, match=message):
        box_card(Simulating(signals=(text,)))


def test_a_lower_cut_lowers_the_hard_scattering_and_the_hidden_masses():
    made = box_card(Simulating(leading_pt_gev=600, hidden=True, seed=4, n_background=100))
    default = box_card(Simulating(hidden=True, seed=4, n_background=100))
    assert made.pt_hat_min_gev == pytest.approx(500)
    ratio = made.signals[0].resonance_mass_gev / default.signals[0].resonance_mass_gev
    assert ratio == pytest.approx(0.5, rel=1e-3)
    assert made.signals[0].strength == 3.0


def test_a_card_replaces_the_options(card, tmp_path):
    assert read_card(card).seed == 3
    done = CliRunner().invoke(
        simulate, ["--out", str(tmp_path / "b"), "--card", str(card), "--seed", "4", "--hidden"]
    )
    assert done.exit_code == 2
    assert "leave out --seed, --hidden" in done.output
    for text, message in (("[1, 2]", "is no card"), ("a: [", "no YAML"), ("n_bck: 3", "n_bck")):
        card.write_text(text)
        with pytest.raises(ConfigurationError, match=message):
            read_card(card)

"""Make the bundled sample: QCD dijets and a few signal events, too few to see without a cut.

python validation/boxes/make_demo_sample.py --workers 2

reads dijet_demo.card.yaml beside this script and writes src/bumpscout/samples/dijet_demo.h5, its
card without the truth, and dijet_demo.truth.json beside this script. About ten minutes on one
core. Needs the extra ``sim``.
"""

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import yaml

from bumpscout_tools.simulation import (
    LAYOUT_COLUMNS,
    SimulationCard,
    dijet_mass,
    round_mantissa,
    simulate,
    thin_signal,
    write_features_h5,
)

HERE = Path(__file__).resolve().parent
SAMPLES = HERE.parents[1] / "src" / "bumpscout" / "samples"
SIGNAL_OVER_ROOT_BACKGROUND = 2.6
HALF_WINDOW = 0.05
MANTISSA_BITS = 12
HEADER = """\
# dijet_demo.h5: simulated dijet events, not collision data.
#
# QCD dijet events of proton-proton collisions (Pythia 8, no underlying event, no pile-up), a
# stand-in detector (Gaussian resolutions) and anti-kt jets (FastJet), with a few events of a
# narrow resonance decaying to two fat jets. Same settings and cuts for all events; all numbers
# are rounded to 12 significant bits. Layout: LHC Olympics features, key df; j1 is the jet with
# the larger pT; momenta and masses in GeV; the column label is the truth, for scoring only.
# What was put in, and the script that did it: validation/boxes/ in the source repository.
"""


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    text = (HERE / "dijet_demo.card.yaml").read_text()
    card = SimulationCard.model_validate(yaml.safe_load(text))
    with ProcessPoolExecutor(arguments.workers, max_tasks_per_child=1) as executor:
        table = simulate(card, executor)
    for name in LAYOUT_COLUMNS:
        table[name] = round_mantissa(table[name], MANTISSA_BITS)

    (signal,) = card.signals
    window = tuple(signal.resonance_mass_gev * (1 + s * HALF_WINDOW) for s in (-1, 1))
    mass = dijet_mass(table)
    in_window = (mass >= window[0]) & (mass < window[1])
    n_background = int((in_window & (table["label"] == 0)).sum())
    n_signal = round(SIGNAL_OVER_ROOT_BACKGROUND * np.sqrt(n_background))
    rng = np.random.default_rng(np.random.SeedSequence([card.seed, MANTISSA_BITS]))
    sample = thin_signal(table, n_signal, (window[0], window[1]), rng)

    SAMPLES.mkdir(parents=True, exist_ok=True)
    write_features_h5(SAMPLES / "dijet_demo.h5", sample)
    settings = card.model_dump(
        mode="json", exclude={"n_background", "signals", "seed", "chunk_size"}
    )
    public = HEADER + yaml.safe_dump(settings, sort_keys=False)
    (SAMPLES / "dijet_demo.card.yaml").write_text(public)
    truth = {
        "resonance_mass_gev": signal.resonance_mass_gev,
        "daughter_masses_gev": list(signal.daughter_masses_gev),
        "n_background": card.n_background,
        "n_signal": int((sample["label"] == 1).sum()),
        "window_gev": [round(edge, 3) for edge in window],
        "n_background_in_window": n_background,
        "n_signal_in_window": n_signal,
        "signal_over_root_background": round(n_signal / n_background**0.5, 3),
    }
    (HERE / "dijet_demo.truth.json").write_text(json.dumps(truth, indent=2) + "\n")
    print(json.dumps(truth, indent=2))
    print(f"{(SAMPLES / 'dijet_demo.h5').stat().st_size} bytes")


if __name__ == "__main__":
    main()

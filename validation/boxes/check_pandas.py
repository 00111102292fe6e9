"""Reads the files of a simulated box with pandas, and compares with what h5py reads.

    python validation/boxes/check_pandas.py BOX > validation/boxes/check_pandas.txt

BOX is a folder of `bumpscout simulate --layout both`. Needs pandas and PyTables, which bumpscout
itself never uses, so it is run in an environment of its own. Only for files that one made oneself:
pandas.read_hdf executes what a file tells it to.
"""

import argparse
import json
from pathlib import Path

import h5py
import numpy as np
import pandas as pd


def check(path: Path, columns: list[str] | list[int]) -> str:
    """Compare one file; raise AssertionError where pandas sees something else."""
    frame = pd.read_hdf(path)
    with h5py.File(path) as file:
        block = file["df/block0_values"][:]
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.columns) == columns, list(frame.columns)[:5]
    assert list(frame.index) == list(range(len(block)))
    assert (frame.dtypes == np.float32).all()
    assert np.array_equal(frame.to_numpy(), block)
    part = pd.read_hdf(path, start=10, stop=20)
    assert np.array_equal(part.to_numpy(), block[10:20])
    return f"{path.name}: {frame.shape[0]} x {frame.shape[1]}, equal; rows 10 to 20 equal"


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("box", type=Path)
    box = parser.parse_args().box
    card = json.loads((box / "card.json").read_text())
    names = [
        f"{name}{jet}"
        for jet in ("j1", "j2")
        for name in ("px", "py", "pz", "m", "tau1", "tau2", "tau3")
    ]
    labelled = card["labelled"]
    print(f"pandas {pd.__version__}, h5py {h5py.__version__}, numpy {np.__version__}")
    print(check(box / "box.h5", [*names, "label"] if labelled else names))
    print(check(box / "box.raw.h5", list(range(2100 + labelled))))


if __name__ == "__main__":
    main()

"""Readers of event files against plain scripts: events per second and memory, as ratios in one run.

    python benchmarks/events.py [--data FOLDER] > benchmarks/events.txt

Every measurement is a process of its own, repeated and interleaved. Time is processor time of
reading alone (one core, imports excluded, the file in the cache), the least of `--repeat`. Memory
is the growth of the largest resident size over that after the imports. The plain script reads the
same quantities of the same file: ROOT with uproot into awkward arrays, Parquet and CSV with
pyarrow, HDF5 and npy with h5py and NumPy, LHE with a loop over pylhe. It neither sorts, checks nor
converts.

NanoAOD is the published file of 200 top-quark pairs, its branches of jets, leptons, missing energy
and triggers written again and again into one file of 100,000 events; the other files are drawn.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

N_NANO, N_FLAT, N_RAW, N_LHE = 100_000, 1_000_000, 10_000, 5_000


def make_nano(path: Path, data: Path) -> None:
    """Write the NanoAOD file."""
    import awkward as ak
    import uproot

    from bumpscout_tools.events.nano import nano_layout

    source = data / "root" / "nano_tt_v12.root"
    with uproot.open(source) as file:
        tree = file["Events"]
        layout = nano_layout(tree.keys(recursive=False))
        if layout is None:
            raise SystemExit(f"{source} is no NanoAOD")
        names = sorted(set(layout.branches()))
        arrays = {name: tree[name].array() for name in names}
    arrays |= {f"HLT_made_{index}": arrays["genWeight"] > 0 for index in range(100)}
    times = N_NANO // 200
    arrays = {name: ak.concatenate([array] * times) for name, array in arrays.items()}
    kinds = {
        name: f"var * {ak.flatten(x).type.content}" if x.ndim == 2 else str(x.type.content)
        for name, x in arrays.items()
    }
    with uproot.recreate(path, compression=uproot.ZLIB(1)) as file:
        file.mktree("Events", kinds, counter_name=lambda name: "n" + name)
        for start in range(0, N_NANO, N_NANO // 4):
            file["Events"].extend(
                {name: x[start : start + N_NANO // 4] for name, x in arrays.items()}
            )


def flat_columns() -> dict[str, Any]:
    """Return the columns of the flat files."""
    rng = np.random.default_rng(1)
    names = ["m_jj", *(f"feature_{index}" for index in range(13))]
    return {name: rng.normal(3000, 300, N_FLAT) for name in names}


def make_features(path: Path, _: Path) -> None:
    """Write a file in the LHC Olympics feature layout."""
    import h5py

    from bumpscout_tools.events.lhco import FEATURE_COLUMNS

    with h5py.File(path, "w") as file:
        values = np.column_stack(list(flat_columns().values()))
        file.create_dataset("df/block0_values", data=values)
        file["df/block0_items"] = np.array([name.encode() for name in FEATURE_COLUMNS])


def make_raw(path: Path, _: Path) -> None:
    """Write raw LHC Olympics events with 300 particles on average."""
    import h5py

    rng = np.random.default_rng(2)
    rows = np.zeros((N_RAW, 2101))
    used = np.arange(700) < rng.integers(100, 500, N_RAW)[:, None]
    rows[:, :2100].reshape(N_RAW, 700, 3)[used] = rng.normal(5, 1, (int(used.sum()), 3))
    with h5py.File(path, "w") as file:
        file.create_dataset("df/block0_values", data=rows, compression="gzip", chunks=(500, 2101))
        file["df/block0_items"] = np.arange(2101)


def make_parquet(path: Path, _: Path) -> None:
    """Write a flat Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(flat_columns()), path)


def make_csv(path: Path, _: Path) -> None:
    """Write a CSV file of a fifth of the events."""
    columns = {name: values[: N_FLAT // 5] for name, values in flat_columns().items()}
    rows = np.column_stack(list(columns.values()))
    np.savetxt(path, rows, delimiter=",", header=",".join(columns), comments="", fmt="%.7g")


def make_npy(path: Path, _: Path) -> None:
    """Write a structured .npy file."""
    columns = flat_columns()
    rows = np.empty(N_FLAT, dtype=[(name, "<f8") for name in columns])
    for name, values in columns.items():
        rows[name] = values
    with path.open("wb") as file:
        np.save(file, rows)


def make_lhe(path: Path, _: Path) -> None:
    """Write LHE events of six particles."""
    rest = "1 1 2 501 0 1.0e2 2.0e2 3.0e2 3.7e2 0.0 0. 9."
    particles = "".join(f" {code} {rest}\n" for code in (5, 21, 11, 13, 12, 22))
    event = f"<event>\n 6 1 1.0 91.0 0.0078 0.118\n{particles}</event>\n"
    path.write_text(
        "<LesHouchesEvents version='1.0'>\n<init>\n2212 2212 6500 6500 0 0 1 1 -4 1\n1 1 1 1\n"
        f"</init>\n{event * N_LHE}</LesHouchesEvents>\n"
    )


def plain_root(path: Path) -> Any:
    """Read the same branches with uproot."""
    import uproot

    from bumpscout_tools.events.nano import nano_layout

    with uproot.open(path) as file:
        tree = file["Events"]
        layout = nano_layout(tree.keys(recursive=False))
        names = set(layout.branches()) if layout else set()
        return tree.arrays(filter_name=lambda name: name in names, library="ak")


def plain_hdf5(path: Path) -> Any:
    """Read the block as it is."""
    import h5py

    with h5py.File(path) as file:
        return file["df/block0_values"][:]


def plain_parquet(path: Path) -> Any:
    """Read into arrays."""
    import pyarrow.parquet as pq

    table = pq.read_table(path, use_threads=False)
    return {name: table[name].to_numpy() for name in table.column_names}


def plain_csv(path: Path) -> Any:
    """Read into arrays."""
    import pyarrow.csv as pa_csv

    table = pa_csv.read_csv(path, read_options=pa_csv.ReadOptions(use_threads=False))
    return {name: table[name].to_numpy() for name in table.column_names}


def plain_npy(path: Path) -> Any:
    """Read whole."""
    with path.open("rb") as file:
        return np.load(file)


def plain_lhe(path: Path) -> Any:
    """Loop over the events."""
    import pylhe

    file = pylhe.LHEFile.fromfile(path, with_attributes=False)
    return [[(p.id, p.status, p.px, p.py, p.pz, p.e) for p in e.particles] for e in file.events]


CASES: dict[str, tuple[Callable[[Path, Path], None], Callable[[Path], Any], int]] = {
    "NanoAOD, ROOT": (make_nano, plain_root, N_NANO),
    "LHCO features, HDF5": (make_features, plain_hdf5, N_FLAT),
    "LHCO raw, HDF5": (make_raw, plain_hdf5, N_RAW),
    "flat Parquet": (make_parquet, plain_parquet, N_FLAT),
    "CSV": (make_csv, plain_csv, N_FLAT // 5),
    "structured npy": (make_npy, plain_npy, N_FLAT),
    "LHE": (make_lhe, plain_lhe, N_LHE),
}


def resident() -> float:
    """Return the largest resident size so far, MB."""
    # Not that of getrusage, which a process inherits from the one that started it.
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024.0


def measure(case: str, how: str, path: Path) -> None:
    """Read one file in this process and print seconds and MB."""
    import awkward
    import h5py
    import pyarrow.csv
    import pyarrow.parquet
    import pylhe
    import uproot

    from bumpscout_tools.events.open import iter_events, open_events

    loaded = (awkward, h5py, pyarrow, pylhe, uproot)
    before, start = resident(), time.process_time()
    if how == "plain":
        read: Any = CASES[case][1](path)
    elif how == "whole":
        read = open_events(path)
    else:
        read = sum(table.n_events for table in iter_events(path))
    seconds = time.process_time() - start
    print(json.dumps([seconds, resident() - before, len(loaded), read is None]))


def main() -> None:
    """Make the files, measure every case, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("BUMPSCOUT_DATA"))
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--measure", nargs=3)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure[0], options.measure[1], Path(options.measure[2]))
        return
    names = ("uproot", "awkward", "pyarrow", "h5py", "numpy", "pylhe")
    print(f"{platform.platform()}, Python {platform.python_version()}")
    print(", ".join(f"{name} {version(name)}" for name in names))
    print(f"load {os.getloadavg()[0]:.1f}; processor time, least of {options.repeat}\n")
    print(
        f"{'':22}{'events':>9} | {'plain':>10} {'MB':>7} | {'whole':>10} {'MB':>7} {'time':>6} "
        f"{'memory':>6} | {'chunks':>10} {'MB':>7} {'time':>6} {'memory':>6}"
    )
    print(
        f"{'':22}{'':>9} | {'events/s':>10} {'':7} | {'events/s':>10} {'':7} {'ratio':>6} "
        f"{'ratio':>6} | {'events/s':>10} {'':7} {'ratio':>6} {'ratio':>6}"
    )
    with tempfile.TemporaryDirectory() as folder:
        for case, (make, _, n) in CASES.items():
            path = Path(folder) / "events"
            make(path, options.data)
            best = {how: (np.inf, 0.0) for how in ("plain", "whole", "chunks")}
            for _ in range(options.repeat):
                for how in best:
                    done = subprocess.run(
                        [sys.executable, __file__, "--measure", case, how, str(path)],
                        capture_output=True, text=True, check=True,
                        env=os.environ | {"OMP_NUM_THREADS": "1"},
                    )  # fmt: skip
                    seconds, memory, *_ = json.loads(done.stdout)
                    best[how] = min(best[how], (seconds, memory))
            (plain_s, plain_mb), row = best["plain"], ""
            for how in ("whole", "chunks"):
                seconds, memory = best[how]
                row += (
                    f" | {n / seconds:10.0f} {memory:7.0f} {seconds / plain_s:6.2f} "
                    f"{memory / max(plain_mb, 1.0):6.2f}"
                )
            print(f"{case:22}{n:9d} | {n / plain_s:10.0f} {plain_mb:7.0f}{row}", flush=True)
    print(f"\nload {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()

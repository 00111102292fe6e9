"""Aspen Open Jets (arXiv:2412.10504): fat jets of CMS data 2016 with their constituents, HDF5.

One row is a jet. Rows of one event follow each other and are joined by run, luminosity block and
event number. ``jet_kinematics``: pT, eta, phi, soft-drop mass; ``jet_tagging``: number of
constituents, tau_1 to tau_4, scores; ``PFCands``: up to 150 candidates of px, py, pz, E, four
impact parameters, charge, id and PUPPI weight, momenta without that weight.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from bumpscout_tools.errors import InputDataError
from bumpscout_tools.events.frames import check_dataset, hdf5_faults, plain_dataset
from bumpscout_tools.events.reader import Contents, Wish, particles_by_pt, ranges
from bumpscout_tools.events.table import EventTable, Particles

__all__ = ["AspenReader", "is_aspen"]

_LAYOUT = "the layout of Aspen Open Jets"
_MIN_COLUMNS = {"event_info": 3, "jet_kinematics": 4, "jet_tagging": 5}
_CHARGE, _WEIGHT, _CANDIDATE_COLUMNS = 8, 10, 11
_CHUNK = 20_000

IntArray = npt.NDArray[np.int64]


def is_aspen(file: h5py.File) -> bool:
    """Return whether an opened HDF5 file has the data sets of Aspen Open Jets."""
    return {"event_info", "jet_kinematics", "PFCands"} <= set(file)


class AspenReader:
    """A file of Aspen Open Jets."""

    contents: Contents

    def __init__(self, path: Path) -> None:
        """Open the file and join its jets to events.

        Raises:
            InputDataError: if it is damaged, empty, or of another layout.
        """
        self._path = path
        with hdf5_faults(path, _LAYOUT):
            self._file = h5py.File(path, "r")
            try:
                self._open()
            except BaseException:
                self._file.close()
                raise

    def _open(self) -> None:
        names = [name for name in _MIN_COLUMNS if name in self._file]
        self._tables = {name: plain_dataset(self._path, self._file, name) for name in names}
        self._candidates = plain_dataset(self._path, self._file, "PFCands")
        shapes = {name: data.shape for name, data in self._tables.items()}
        rows = {shape[0] for shape in shapes.values() if len(shape) == 2}
        wide = all(
            len(shape) == 2 and shape[1] >= _MIN_COLUMNS[name] for name, shape in shapes.items()
        )
        every = [*self._tables.values(), self._candidates]
        if (
            len(rows | {self._candidates.shape[0]}) != 1
            or not wide
            or self._candidates.ndim != 3
            or self._candidates.shape[2] != _CANDIDATE_COLUMNS
            or any(data.dtype.kind not in "fiu" for data in every)
        ):
            raise InputDataError(
                f"{self._path}: {shapes} and PFCands {self._candidates.shape} are not the data "
                "sets of Aspen Open Jets: one row a jet, and 11 numbers a candidate."
            )
        for name, data in (*self._tables.items(), ("PFCands", self._candidates)):
            check_dataset(f"{self._path}: {name}", data)
        n_jets = self._candidates.shape[0]
        if n_jets == 0:
            raise InputDataError(f"{self._path} holds no events.")
        numbers = np.asarray(self._tables["event_info"][:, :3])
        new = np.append(True, (numbers[1:] != numbers[:-1]).any(axis=1))
        self._first = np.append(np.flatnonzero(new), n_jets).astype(np.int64)
        truth = tuple(sorted(name for name in self._file if "truth" in name or "label" in name))
        self.contents = Contents(
            "aspen-open-jets",
            len(self._first) - 1,
            (),
            ("fatjets", "constituents"),
            truth=truth,
            notes=(
                "Jets were selected, so that many events have one jet alone. The mass of a jet is "
                "that of its constituents with their PUPPI weights.",
            ),
        )

    def iterate(self, wish: Wish, chunk: int) -> Iterator[EventTable]:
        """Give the events in order, at most `chunk` at a time.

        Raises:
            InputDataError: naming the rows that cannot be read.
        """
        for start, stop in ranges(self.contents.n_events, min(chunk, _CHUNK)):
            low, high = int(self._first[start]), int(self._first[stop])
            with hdf5_faults(self._path, f"{_LAYOUT}, rows {low} to {high}"):
                yield self._chunk(wish, self._first[start : stop + 1] - low, low, high)

    def _chunk(self, wish: Wish, offsets: IntArray, low: int, high: int) -> EventTable:
        kinematics = np.asarray(self._tables["jet_kinematics"][low:high, :4], dtype=np.float64)
        candidates = np.asarray(self._candidates[low:high], dtype=np.float64)
        used = candidates[:, :, 3] > 0
        weight = candidates[:, :, _WEIGHT]
        total = (candidates[:, :, :4] * (weight * used)[:, :, None]).sum(axis=1)
        square = total[:, 3] ** 2 - (total[:, :3] ** 2).sum(axis=1)
        extra = {"softdrop_mass": np.ascontiguousarray(kinematics[:, 3])}
        if "jet_tagging" in self._tables:
            tagging = np.asarray(self._tables["jet_tagging"][low:high, :5], dtype=np.float64)
            for index, name in enumerate(("n_constituents", "tau1", "tau2", "tau3", "tau4")):
                extra[name] = np.ascontiguousarray(tagging[:, index])
        pt = np.where(kinematics[:, 0] >= 0, kinematics[:, 0], np.nan)
        jets = Particles(
            offsets,
            pt,
            np.ascontiguousarray(kinematics[:, 1]),
            np.ascontiguousarray(kinematics[:, 2]),
            np.sqrt(np.maximum(square, 0.0)),
            MappingProxyType(extra),
        )
        jets, order = particles_by_pt(jets)
        particles = {}
        if wish.wants_kind("fatjets"):
            particles["fatjets"] = jets
        if wish.wants_kind("constituents"):
            particles["constituents"] = _constituents(jets, order, candidates, used & (weight > 0))
        if not particles:
            particles["fatjets"] = jets
        return EventTable(
            MappingProxyType({}), self.contents.format, particles=MappingProxyType(particles)
        )

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _constituents(
    jets: Particles, order: IntArray, candidates: npt.NDArray[Any], used: npt.NDArray[np.bool_]
) -> Particles:
    place = np.arange(len(order)) - jets.offsets[jets.event]
    leading = np.flatnonzero(place < 2)
    rows = order[leading]
    chosen = used[rows]
    values = candidates[rows][chosen]
    number = chosen.sum(axis=1)
    counts = np.bincount(jets.event[leading], weights=number, minlength=jets.n_events).astype(
        np.int64
    )
    momentum = values[:, :4] * values[:, _WEIGHT, None]
    pt = np.hypot(momentum[:, 0], momentum[:, 1])
    with np.errstate(divide="ignore", invalid="ignore"):
        eta = np.arcsinh(momentum[:, 2] / pt)
    square = momentum[:, 3] ** 2 - (momentum[:, :3] ** 2).sum(axis=1)
    every = Particles(
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        pt,
        eta,
        np.arctan2(momentum[:, 1], momentum[:, 0]),
        np.sqrt(np.maximum(square, 0.0)),
        MappingProxyType(
            {
                "charge": np.ascontiguousarray(values[:, _CHARGE]),
                "fatjet": np.repeat(place[leading], number).astype(np.float64),
            }
        ),
    )
    return particles_by_pt(every)[0]

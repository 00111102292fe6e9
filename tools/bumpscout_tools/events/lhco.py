"""LHC Olympics files: features of two jets an event, or 700 particles an event (raw)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType

import h5py
import numpy as np
import numpy.typing as npt

from bumpscout_tools.errors import InputDataError
from bumpscout_tools.events.frames import Frame, hdf5_faults, open_frame
from bumpscout_tools.events.names import is_identity, is_truth, is_weight, split_unit
from bumpscout_tools.events.reader import MAX_COLUMNS, Contents, Wish, ranges
from bumpscout_tools.events.table import EventTable, Particles

__all__ = [
    "FEATURE_COLUMNS",
    "LABEL",
    "RAW_PARTICLES",
    "SUBSTRUCTURE_COLUMNS",
    "FrameReader",
    "read_features",
    "read_labels",
]

LABEL = "label"
FEATURE_COLUMNS = tuple(
    f"{name}{jet}"
    for jet in ("j1", "j2")
    for name in ("px", "py", "pz", "m", "tau1", "tau2", "tau3")
)
"""Columns of the layout, per jet: momentum and mass in GeV, N-subjettiness tau_1..3."""
SUBSTRUCTURE_COLUMNS: tuple[str, ...] = tuple(
    f"{name}{jet}{tag}"
    for jet in ("j1", "j2")
    for name, tag in (
        *((f"tau{n}", f"_{tag}") for tag in ("5", "1", "2") for n in range(1, 10)),
        ("msd", ""),
        ("n", ""),
    )
)
"""Further columns that a file may have, per jet: tau_1..9 for beta 0.5, 1 and 2 as ``tau1j1_5``,
``tau1j1_1`` and ``tau1j1_2``, the names of the public files of arXiv:2309.13111; soft-drop mass in
GeV; number of constituents."""
RAW_PARTICLES = 700
"""Particles of an event in a raw file: pT in GeV, eta, phi; unused ones are zero."""

_FEATURES = "the LHC Olympics feature layout"
_ANY = "a layout of pandas"
_RAW_CHUNK = 2000
_UNITS = MappingProxyType(
    {n: "GeV" for n in (*FEATURE_COLUMNS, *SUBSTRUCTURE_COLUMNS) if n.startswith(("p", "m"))}
)

FloatArray = npt.NDArray[np.float64]


def read_features(path: Path) -> EventTable:
    """Read the 14 jet columns of an LHC Olympics feature file.

    Args:
        path: HDF5 file with one pandas frame of numeric blocks.

    Returns:
        The columns `FEATURE_COLUMNS`; a truth label in the file is not read.

    Raises:
        InputDataError: if the file is missing, damaged, empty, or has other columns.
    """
    columns = _read_columns(path, FEATURE_COLUMNS)
    if len(columns[FEATURE_COLUMNS[0]]) == 0:
        raise InputDataError(f"{path} holds no events.")
    return EventTable(MappingProxyType(columns), format="lhco-features-h5", units=_UNITS)


def read_labels(path: Path) -> FloatArray:
    """Read the truth label; for scoring code only, never on the way of a search.

    Raises:
        InputDataError: if the file cannot be read or has no label.
    """
    return _read_columns(path, (LABEL,))[LABEL]


def _read_columns(path: Path, wanted: tuple[str, ...]) -> dict[str, FloatArray]:
    with open_frame(path, _FEATURES) as frame:
        missing = frame.missing(wanted)
        if missing:
            raise InputDataError(
                f"{path} lacks the columns {', '.join(missing)} of the LHC Olympics feature "
                f"layout; found: {_shown(frame)}."
            )
        return frame.read(wanted, 0, frame.n_rows)


def _shown(frame: Frame) -> str:
    return ", ".join(repr(name[:40]) for name in frame.names[:20]) or "none"


class FrameReader:
    """A pandas frame: LHC Olympics features, raw LHC Olympics events, or any table with a mass."""

    contents: Contents

    def __init__(self, path: Path) -> None:
        """Open the file and recognise its layout by its columns.

        Raises:
            InputDataError: if it is damaged, empty, or has other columns.
        """
        self._path = path
        with hdf5_faults(path, _ANY):
            self._file = h5py.File(path, "r")
            try:
                self._frame = Frame(path, self._file)
                self.contents = self._recognise()
            except BaseException:
                self._file.close()
                raise

    def _recognise(self) -> Contents:
        frame = self._frame
        if frame.n_rows == 0:
            raise InputDataError(f"{self._path} holds no events.")
        truth = tuple(name for name in frame.names if is_truth(name))
        self._flat: dict[str, str] = {}
        # The extended files call tau_1 for beta = 1 tau1j1_1.
        official = {n: n if n in frame.names else f"{n}_1" for n in FEATURE_COLUMNS}
        if not frame.missing(tuple(official.values())):
            self._flat = official | {n: n for n in SUBSTRUCTURE_COLUMNS if n in frame.names}
            kind, kinds = "lhco-features-h5", ()
        elif frame.one_block and len(frame.names) - 3 * RAW_PARTICLES in (0, 1):
            return Contents(
                "lhco-raw-h5",
                frame.n_rows,
                (),
                ("constituents",),
                truth=tuple(frame.names[3 * RAW_PARTICLES :]),
                notes=("Particles without mass; unused places of an event are left out.",),
            )
        else:
            kind, kinds = "pandas-h5", ()
            self._flat = {
                split_unit(name)[0]: name
                for name in frame.names
                if not (is_truth(name) or is_weight(name) or is_identity(name))
            }
            if len({split_unit(name)[0] for name in frame.names}) != len(frame.names):
                raise InputDataError(
                    f"{self._path} has several columns of one name; found: {_shown(frame)}."
                )
            if "m_jj" not in self._flat or len(self._flat) > MAX_COLUMNS:
                missing = ", ".join(frame.missing(FEATURE_COLUMNS))
                raise InputDataError(
                    f"{self._path} lacks the columns {missing} of the LHC Olympics feature layout "
                    f"and has neither {3 * RAW_PARTICLES} columns of raw events nor a column m_jj; "
                    f"found: {_shown(frame)}."
                )
        self._weight = next((name for name in frame.names if is_weight(name)), None)
        return Contents(
            kind,
            frame.n_rows,
            tuple(self._flat),
            kinds,
            truth=truth,
            n_unread=len(set(frame.names) - set(self._flat.values()) - set(truth)),
        )

    def iterate(self, wish: Wish, chunk: int) -> Iterator[EventTable]:
        """Give the events in order, at most `chunk` at a time.

        Raises:
            InputDataError: naming the rows that cannot be read.
        """
        raw = self.contents.format == "lhco-raw-h5"
        for start, stop in ranges(self.contents.n_events, min(chunk, _RAW_CHUNK) if raw else chunk):
            with hdf5_faults(self._path, f"rows {start} to {stop}"):
                yield self._raw(start, stop) if raw else self._columns(wish, start, stop)

    def _columns(self, wish: Wish, start: int, stop: int) -> EventTable:
        wanted = {name: place for name, place in self._flat.items() if wish.wants_column(name)}
        places = [*wanted.values(), *([self._weight] if self._weight else [])]
        read = self._frame.read(places, start, stop)
        official = self.contents.format == "lhco-features-h5"
        units = _UNITS if official else {n: split_unit(p)[1] for n, p in wanted.items()}
        return EventTable(
            MappingProxyType({name: read[place] for name, place in wanted.items()}),
            format=self.contents.format,
            units=units,
            weight=read[self._weight] if self._weight else None,
        )

    def _raw(self, start: int, stop: int) -> EventTable:
        table = self._frame.table(start, stop)[:, : 3 * RAW_PARTICLES]
        particles = table.reshape(stop - start, RAW_PARTICLES, 3)
        used = (particles != 0).any(axis=2)
        pt, eta, phi = particles[used].astype(np.float64).T
        # A negative momentum or one that is no number makes the particle unusable, not the file.
        pt = np.where(pt >= 0, pt, np.nan)
        return EventTable(
            MappingProxyType({}),
            format=self.contents.format,
            particles=MappingProxyType(
                {
                    "constituents": Particles(
                        np.concatenate([[0], np.cumsum(used.sum(axis=1))]).astype(np.int64),
                        pt,
                        np.ascontiguousarray(eta),
                        np.ascontiguousarray(phi),
                        np.zeros(len(pt)),
                    )
                }
            ),
        )

    def close(self) -> None:
        """Close the file."""
        self._file.close()

"""The rapidity-mass matrix: one fixed-size set of numbers for events of any kind.

What to use when:

- ``rmm``: (n, k) dense inputs of a network; ``rmm_sparse``: the same, without the zeros;
- ``rmm_columns``: what each column means; ``rmm_images``: the matrix of some columns, for figures;
- ``rmm_masses`` (``rmm_objects``): the masses that are scanned and so are blinded here.

Rows and columns are missing energy, light jets, b-jets, muons, electrons and photons, each type
sorted by falling pT. With h_L = cosh(y) - 1 and h(i, j) = cosh((y_i - y_j) / 2) - 1:

====================  =============================================================================
(0, 0)                missing E_T / sqrt(s)
first row             m_T / sqrt(s), m_T^2 = (E_T + missing E_T)^2 - |sum of both pT vectors|^2;
                      0 without missing energy
first column          c h_L
diagonal              E_T / sqrt(s) of the leading object of a type; of the k-th the imbalance
                      (E_T[k-1] - E_T[k]) / (E_T[k-1] + E_T[k])
above the diagonal    m_ij / sqrt(s)
below the diagonal    c h(i, j)
====================  =============================================================================

with c = 0.15. Sources: NIM A 931 (2019) 92 [arXiv:1805.11650], PRL 132 (2024) 081801 for the inputs
and the blinding. E_T is sqrt(m^2 + pT^2) by default, so that the diagonal, and all but the first
column, do not change under boosts along the beam; ``transverse_energy="sin-theta"`` is
E sin(theta), the definition of ROOT, which public codes use and which differs for massive jets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import sparse

from bumpscout_tools.errors import ConfigurationError
from bumpscout_tools.events.table import EventTable
from bumpscout_tools.features._rmm_kernels import count_cells, fill_dense, fill_sparse
from bumpscout_tools.features.rmm_config import OBJECTS, RmmConfig, parse_object, position
from bumpscout_tools.features.rmm_objects import RmmObjects, select_objects

__all__ = ["Quantity", "RmmColumn", "rmm", "rmm_columns", "rmm_images", "rmm_sparse"]

Float32Array = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
_Arrays = tuple[IntArray, IntArray, IntArray, FloatArray, FloatArray]

Quantity = Literal["met", "mt", "hl", "et", "imbalance", "m", "h"]


@dataclass(frozen=True)
class RmmColumn:
    """The meaning of one input.

    Attributes:
        row: row of the cell in the matrix, from 0.
        column: column of the cell, from 0.
        quantity: missing energy, transverse mass, Lorentz factor, transverse energy, imbalance,
            invariant mass or rapidity difference.
        objects: the object or objects that it is made of.
    """

    row: int
    column: int
    quantity: Quantity
    objects: tuple[str, ...]

    @property
    def name(self) -> str:
        """Short name, such as ``m_j1_b2``; unique in a matrix."""
        return "_".join((self.quantity, *self.objects))


def rmm_columns(config: RmmConfig | None = None) -> tuple[RmmColumn, ...]:
    """Return what the columns of `rmm` mean, in their order: row by row, without blinded cells.

    >>> columns = rmm_columns()
    >>> len(columns), columns[0].name, columns[37].name, columns[36].objects
    (1287, 'met', 'et_j1', ('j1',))
    """
    config = RmmConfig() if config is None else config
    names = ["met"]
    for kind, most in zip(OBJECTS, config.maxima, strict=True):
        names += [f"{kind}{rank}" for rank in range(1, most + 1)]
    cells = np.argwhere(_cells(config) >= 0)
    return tuple(_meaning(int(row), int(column), names) for row, column in cells)


def rmm(
    events: EventTable | RmmObjects,
    config: RmmConfig | None = None,
    out: Float32Array | None = None,
) -> Float32Array:
    """Compute the rapidity-mass matrix of each event.

    Args:
        events: n events, or their objects as `select_objects` gives them for the same settings.
        config: objects, selection and blinding; by default the 1287 inputs of the publication.
        out: (n, k) to write to; with batches this saves fresh memory, which takes most of the time.

    Returns:
        (n, k), the columns of `rmm_columns`; cells of objects that an event lacks are 0.

    Raises:
        InputDataError: if the events hold no jets, leptons or photons.
        ConfigurationError: if the objects were selected for a larger matrix, or `out` does not fit.
    """
    config = RmmConfig() if config is None else config
    objects, cells, arrays, scales = _prepared(events, config)
    shape = (len(objects), int(cells.max()) + 1)
    if out is not None and (out.shape != shape or out.dtype != np.float32):
        raise ConfigurationError(
            f"The array to write to has shape {out.shape} and type {out.dtype}; {shape} of float32 "
            "is needed."
        )
    values = np.zeros(shape, dtype=np.float32) if out is None else out
    if out is not None:
        values.fill(0)
    fill_dense(values, cells, *arrays, *scales)
    return values


def rmm_sparse(events: EventTable | RmmObjects, config: RmmConfig | None = None) -> Any:
    """Compute the rapidity-mass matrix of each event without the cells of absent objects.

    Args:
        events: as for `rmm`.
        config: as for `rmm`.

    Returns:
        `scipy.sparse.csr_array` (n, k) of float32; equal to `rmm` when made dense.

    Raises:
        InputDataError: if the events hold no jets, leptons or photons.
        ConfigurationError: if the objects were selected for a larger matrix.
    """
    config = RmmConfig() if config is None else config
    objects, cells, arrays, scales = _prepared(events, config)
    kept, _, first, _, met = arrays
    counts = np.zeros(len(objects) + 1, dtype=np.int64)
    count_cells(counts, cells, kept, first, met)
    pointers = np.cumsum(counts)
    values = np.empty(int(pointers[-1]), dtype=np.float32)
    columns = np.empty(int(pointers[-1]), dtype=np.int32)
    fill_sparse(values, columns, pointers, cells, *arrays, *scales)
    shape = (len(objects), int(cells.max()) + 1)
    return sparse.csr_array((values, columns, pointers), shape=shape)


def rmm_images(values: Float32Array, config: RmmConfig | None = None) -> Float32Array:
    """Put the columns of `rmm` back into matrices.

    Args:
        values: (n, k) as `rmm` gives them.
        config: the settings that made them.

    Returns:
        (n, size, size); NaN in blinded cells.
    """
    config = RmmConfig() if config is None else config
    cells = _cells(config)
    images = np.full((len(values), *cells.shape), np.nan, dtype=np.float32)
    images[:, cells >= 0] = values
    return images


def _meaning(row: int, column: int, names: list[str]) -> RmmColumn:
    if row == column == 0:
        return RmmColumn(0, 0, "met", ())
    if row == 0:
        return RmmColumn(row, column, "mt", (names[column],))
    if column == 0:
        return RmmColumn(row, column, "hl", (names[row],))
    if row == column:
        leading = parse_object(names[row])[1] == 1
        return RmmColumn(row, column, "et" if leading else "imbalance", (names[row],))
    pair = (names[min(row, column)], names[max(row, column)])
    return RmmColumn(row, column, "m" if row < column else "h", pair)


def _cells(config: RmmConfig) -> IntArray:
    """Return (size, size) the column of each cell, -1 for blinded ones."""
    shown = np.ones((config.size, config.size), dtype=bool)
    for first, second in config.blinded:
        pair = sorted((position(config, first), position(config, second)))
        shown[pair[0], pair[1]] = False
    cells = np.full(shown.shape, -1, dtype=np.int64)
    cells[shown] = np.arange(int(shown.sum()))
    return cells


def _prepared(
    events: EventTable | RmmObjects, config: RmmConfig
) -> tuple[RmmObjects, IntArray, _Arrays, tuple[float, float, bool]]:
    objects = select_objects(events, config) if isinstance(events, EventTable) else events
    if (objects.kept > np.array(config.maxima)).any():
        raise ConfigurationError(
            "The objects were selected for a larger matrix; select them with the same settings."
        )
    first = 1 + np.concatenate([[0], np.cumsum(config.maxima)[:-1]])
    arrays = (objects.kept, objects.offsets, first, objects.momentum, objects.met)
    invariant = config.transverse_energy == "invariant"
    return objects, _cells(config), arrays, (config.sqrt_s_gev, config.rapidity_scale, invariant)

"""Boxes: data sets of background and a few signal events, for tests, examples and benchmarks.

- ``make_box``: so many background and signal events from larger pools.
- ``thin_signal``: exactly N signal events in a mass window, from a table with truth labels.
- ``thin_features_file``: the same from a file, its masses scaled to somewhere else.

All of them use truth labels, so none belongs on the way of a search.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bumpscout_tools.events.lhco import LABEL
from bumpscout_tools.simulation.errors import BoxError
from bumpscout_tools.simulation.layout import (
    LAYOUT_COLUMNS,
    Table,
    dijet_mass,
    empty_table,
    read_features_h5,
)

__all__ = ["make_box", "thin_features_file", "thin_signal"]

_SCALED = tuple(f"{name}{jet}" for jet in ("j1", "j2") for name in ("px", "py", "pz", "m"))


def make_box(
    background: Table,
    signal: Table,
    n_background: int,
    n_signal: int,
    rng: np.random.Generator,
) -> Table:
    """Draw a box without replacement; neither row order nor precision tells the labels.

    Args:
        background: pool of background events, fields ``LAYOUT_COLUMNS``; GeV.
        signal: pool of signal events, the same fields.
        n_background: background events of the box.
        n_signal: signal events of the box.
        rng: source of the choice and of the order.

    Returns:
        (n_background + n_signal,) structured float32 table, label 0 and 1, rows in random order.

    Raises:
        BoxError: a pool holds fewer events than asked for.
    """
    chosen_background = background[_draw(len(background), n_background, "background", rng)]
    chosen_signal = signal[_draw(len(signal), n_signal, "signal", rng)]
    box = empty_table(n_background + n_signal)
    for name in LAYOUT_COLUMNS:
        box[name][:n_background] = chosen_background[name]
        box[name][n_background:] = chosen_signal[name]
    box[LABEL] = np.arange(len(box)) >= n_background
    return box[rng.permutation(len(box))]


def thin_signal(
    table: Table,
    n_in_window: int,
    window_gev: tuple[float, float],
    rng: np.random.Generator,
    n_background: int | None = None,
) -> Table:
    """Thin the signal of a labelled table so that exactly N signal events lie in a mass window.

    The same fraction of the signal is kept outside the window. For tests and benchmarks only: the
    choice is made by truth labels.

    Args:
        table: (n,) events with labels, fields ``LAYOUT_COLUMNS``; GeV.
        n_in_window: N, signal events to keep with low <= m_jj < high.
        window_gev: low and high edge in m_jj, GeV.
        rng: source of the choice.
        n_background: background events to keep; None keeps all.

    Returns:
        The kept rows, in the order of the table.

    Raises:
        BoxError: the table holds fewer events than asked for.
    """
    low, high = window_gev
    mass = dijet_mass(table)
    is_signal = table[LABEL] > 0.5
    inside = np.flatnonzero(is_signal & (mass >= low) & (mass < high))
    outside = np.flatnonzero(is_signal & ~((mass >= low) & (mass < high)))
    background = np.flatnonzero(~is_signal)
    where = f"signal in {low:g} <= m_jj < {high:g} GeV"
    kept_inside = inside[_draw(inside.size, n_in_window, where, rng)]
    fraction = n_in_window / inside.size if inside.size else 0.0
    kept_outside = outside[_draw(outside.size, round(fraction * outside.size), "signal", rng)]
    if n_background is not None:
        background = background[_draw(background.size, n_background, "background", rng)]
    kept: Table = table[np.sort(np.concatenate([background, kept_inside, kept_outside]))]
    return kept


def thin_features_file(
    path: Path,
    n_in_window: int,
    window_gev: tuple[float, float],
    rng: np.random.Generator,
    n_background: int | None = None,
    mass_scale: float = 1.0,
) -> Table:
    """Make a labelled table with little signal from a file with much, elsewhere in mass if wanted.

    Scaling the momenta and masses of both jets by one factor scales m_jj by it and leaves angles
    and subjettiness alone. For tests and benchmarks only: the choice is made by truth labels.

    Args:
        path: file in the LHC Olympics feature layout with labels.
        n_in_window: signal events to keep with low <= m_jj < high.
        window_gev: low and high edge in m_jj *after* the scaling, GeV.
        rng: source of the choice.
        n_background: background events to keep; None keeps all.
        mass_scale: factor on px, py, pz and m of both jets of every event.

    Returns:
        Structured float64 table with the fields of ``LAYOUT_COLUMNS``, in the order of the file.

    Raises:
        InputDataError: the file cannot be read or has no labels.
        BoxError: the file holds fewer events than asked for.
    """
    if not (np.isfinite(mass_scale) and mass_scale > 0):
        raise BoxError(f"mass_scale is {mass_scale!r}; give a positive number")
    table = read_features_h5(path)
    for name in _SCALED:
        table[name] *= mass_scale
    return thin_signal(table, n_in_window, window_gev, rng, n_background)


def _draw(available: int, wanted: int, what: str, rng: np.random.Generator) -> NDArray[np.int64]:
    if not 0 <= wanted <= available:
        raise BoxError(
            f"{wanted} events of {what} are asked for and there are {available}; "
            "ask for fewer or simulate more"
        )
    return rng.choice(available, size=wanted, replace=False)

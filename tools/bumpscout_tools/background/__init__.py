"""Backgrounds from the spectrum itself: fits of the dijet family.

What to use when:

- the family on your bins: `DijetBasis`, once per spectrum;
- one order: `fit`; for many toys `fit_batch`;
- the order chosen from the data, and a verdict on the fit: `select_order`; for many toys
  `select_order_batch`;
- the toys of one cell of the scan, from counts to z: `cell_z_batch`.

A `mask` is True where a bin is left *out* of the fit; expected events are given in all bins.
"""

from __future__ import annotations

from bumpscout_tools.background.cells import cell_z_batch, window_mask
from bumpscout_tools.background.dijet import MAX_ORDER, DijetBasis
from bumpscout_tools.background.fit import FIT_STATUS, BatchFit, Fit, FitStatus, fit, fit_batch
from bumpscout_tools.background.goodness import deviance_moments, deviance_p, runs_p
from bumpscout_tools.background.selection import (
    BatchSelection,
    Selection,
    TriedOrder,
    select_order,
    select_order_batch,
)

__all__ = [
    "FIT_STATUS",
    "MAX_ORDER",
    "BatchFit",
    "BatchSelection",
    "DijetBasis",
    "Fit",
    "FitStatus",
    "Selection",
    "TriedOrder",
    "cell_z_batch",
    "deviance_moments",
    "deviance_p",
    "fit",
    "fit_batch",
    "runs_p",
    "select_order",
    "select_order_batch",
    "window_mask",
]

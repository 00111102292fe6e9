"""Backgrounds from the spectrum itself: fits of the dijet family and of other smooth forms.

What to use when:

- a spectrum in a text file: `read_spectrum`; a background by its name: `make_model`; whether to
  believe its fit: `bumpscout_tools.background.report`;
- the most significant interval with its global p-value: `hunt_spectrum`;
- other forms and templates: `basis_of_form`, `TemplateBasis`; too many events for any function:
  `SlidingFit`; the order by F-test: `choose_order_batch`;
- a signal on the background, and MINOS errors: `bumpscout_tools.background.signal`; four regions
  instead of a function: `bumpscout_tools.background.abcd`;
- the family on your bins: `DijetBasis`, once per spectrum;
- one order: `fit`; for many toys `fit_batch`;
- the order chosen from the data, and a verdict on the fit: `select_order`; for many toys
  `select_order_batch`;
- the toys of one cell of the scan, from counts to z: `cell_z_batch`.

A `mask` is True where a bin is left *out* of the fit; expected events are given in all bins.
"""

from __future__ import annotations

from bumpscout_tools.background.basis import LogLinearBasis
from bumpscout_tools.background.cells import cell_z_batch, window_mask
from bumpscout_tools.background.choice import choose_order_batch, compare_orders
from bumpscout_tools.background.dijet import MAX_ORDER, DijetBasis
from bumpscout_tools.background.fit import FIT_STATUS, BatchFit, Fit, FitStatus, fit, fit_batch
from bumpscout_tools.background.forms import FORMS, TemplateBasis, basis_of_form
from bumpscout_tools.background.global_p import GlobalHunt, hunt_spectrum
from bumpscout_tools.background.goodness import deviance_moments, deviance_p, runs_p
from bumpscout_tools.background.models import Model, make_model
from bumpscout_tools.background.selection import (
    BatchSelection,
    Selection,
    TriedOrder,
    select_order,
    select_order_batch,
)
from bumpscout_tools.background.sliding import SlidingFit
from bumpscout_tools.background.spectrum import Spectrum, read_spectrum

__all__ = [
    "FIT_STATUS",
    "FORMS",
    "MAX_ORDER",
    "BatchFit",
    "BatchSelection",
    "DijetBasis",
    "Fit",
    "FitStatus",
    "GlobalHunt",
    "LogLinearBasis",
    "Model",
    "Selection",
    "SlidingFit",
    "Spectrum",
    "TemplateBasis",
    "TriedOrder",
    "basis_of_form",
    "cell_z_batch",
    "choose_order_batch",
    "compare_orders",
    "deviance_moments",
    "deviance_p",
    "fit",
    "fit_batch",
    "hunt_spectrum",
    "make_model",
    "read_spectrum",
    "runs_p",
    "select_order",
    "select_order_batch",
    "window_mask",
]

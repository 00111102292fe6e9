"""Inference on peaks over a fitted background: scans, global significances, limits.

What to use when:

- local significance and signal of Gaussian peaks, by mass and width: `peak_grid`, then
  `scan_peaks` (`scan_peaks_batch` for toys);
- how often background alone gives as large a significance in one spectrum: `global_p`, which
  chooses by a rule between the Gaussian field, refit toys and importance-sampled toys, and names
  its choice;
- the same over many spectra and nested working points made from the same events
  (`EventToys.from_events`): of peaks `joint_scan`, then `joint_p`, which follows the same rule; of
  the most significant intervals `search_grid`, for grids of thousands of spectra; below what
  toys can count `importance_sampled_p`;
- upper limits with expected bands and discovery strengths: `PeakModel` with `Nuisances`, then
  `peak_limits`; which uncertainty costs how much: `nuisance_impacts`;
- whether the background model may be trusted with it: `spurious_signal`, `injection_linearity`,
  `coverage`.
"""

from __future__ import annotations

from bumpscout_tools.inference.checks import (
    MAX_SPURIOUS,
    Coverage,
    Linearity,
    SpuriousSignal,
    coverage,
    injection_linearity,
    spurious_signal,
)
from bumpscout_tools.inference.event_toys import EventToys, levels_by_rank, recentre
from bumpscout_tools.inference.field import GaussianField, score_vectors, spectrum_field
from bumpscout_tools.inference.fits import Nuisances, PeakFits, PeakModel
from bumpscout_tools.inference.grid import (
    TOYS_PER_BLOCK,
    GridBlock,
    GridFit,
    GridSearch,
    GridSpectrum,
    fit_grid,
    grid_largest,
    grid_toys,
    search_grid,
)
from bumpscout_tools.inference.joint import joint_field
from bumpscout_tools.inference.joint_scan import JointScan, PeakSpectrum, joint_p, joint_scan
from bumpscout_tools.inference.limits import (
    BANDS,
    NUISANCE_NAMES,
    TOYS_BELOW_EVENTS,
    PeakLimits,
    cls_asymptotic,
    nuisance_impacts,
    peak_limits,
)
from bumpscout_tools.inference.lookelsewhere import (
    FIELD_FROM_EVENTS,
    TAIL_FROM_Z,
    GlobalP,
    Method,
    checked_method,
    choose_method,
    global_p,
    gross_vitells,
    importance_p,
    toy_scan,
    upcrossings,
)
from bumpscout_tools.inference.peaks import (
    DEFAULT_WIDTHS,
    PeakGrid,
    Resolution,
    background_under,
    peak_grid,
)
from bumpscout_tools.inference.scan import PeakScan, PeakScans, scan_peaks, scan_peaks_batch
from bumpscout_tools.inference.tilted import importance_sampled_p

__all__ = [
    "BANDS",
    "DEFAULT_WIDTHS",
    "FIELD_FROM_EVENTS",
    "MAX_SPURIOUS",
    "NUISANCE_NAMES",
    "TAIL_FROM_Z",
    "TOYS_BELOW_EVENTS",
    "TOYS_PER_BLOCK",
    "Coverage",
    "EventToys",
    "GaussianField",
    "GlobalP",
    "GridBlock",
    "GridFit",
    "GridSearch",
    "GridSpectrum",
    "JointScan",
    "Linearity",
    "Method",
    "Nuisances",
    "PeakFits",
    "PeakGrid",
    "PeakLimits",
    "PeakModel",
    "PeakScan",
    "PeakScans",
    "PeakSpectrum",
    "Resolution",
    "SpuriousSignal",
    "background_under",
    "checked_method",
    "choose_method",
    "cls_asymptotic",
    "coverage",
    "fit_grid",
    "global_p",
    "grid_largest",
    "grid_toys",
    "gross_vitells",
    "importance_p",
    "importance_sampled_p",
    "injection_linearity",
    "joint_field",
    "joint_p",
    "joint_scan",
    "levels_by_rank",
    "nuisance_impacts",
    "peak_grid",
    "peak_limits",
    "recentre",
    "scan_peaks",
    "scan_peaks_batch",
    "score_vectors",
    "search_grid",
    "spectrum_field",
    "spurious_signal",
    "toy_scan",
    "upcrossings",
]

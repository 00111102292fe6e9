"""Mass spectra with their background fit, the bump and the pulls."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MultipleLocator, NullFormatter
from scipy.special import gammaincinv

from bumpscout_tools.plots.style import Palette, Theme, new_figure, plain, styled
from bumpscout_tools.scan.outcome import Cell, CellSpectrum

__all__ = ["draw_spectrum", "garwood", "inclusive_figure", "signed_pulls", "spectrum_figure"]

FloatArray = npt.NDArray[np.float64]
_TAIL = 0.15865525393145707  # one-sided tail of one standard deviation


def garwood(observed: npt.NDArray[np.int64]) -> tuple[FloatArray, FloatArray]:
    """Return the central 68.3% interval of a Poisson mean (Garwood 1936).

    Args:
        observed: (n,) counts.

    Returns:
        Lower and upper end, (n,) each, in events; the lower end of zero counts is zero.
    """
    counts = observed.astype(np.float64)
    low = np.where(counts > 0, gammaincinv(np.maximum(counts, 1), _TAIL), 0.0)
    high = gammaincinv(counts + 1, 1 - _TAIL)
    return low, high


def signed_pulls(observed: npt.NDArray[np.int64], expected: FloatArray) -> FloatArray:
    """Return the signed root of each bin's Poisson deviance.

    ``sign(d - b) sqrt(2 (d ln(d/b) - (d - b)))``: close to ``(d - b)/sqrt(b)`` at high counts and
    meaningful at low ones.

    Args:
        observed: (n,) counts.
        expected: (n,) positive expected counts.

    Returns:
        (n,) pulls in standard deviations.
    """
    counts = observed.astype(np.float64)
    ratio = np.where(counts > 0, counts, 1.0) / expected
    deviance = 2 * (counts * np.log(ratio) - (counts - expected))
    pulls: FloatArray = np.sign(counts - expected) * np.sqrt(np.maximum(deviance, 0.0))
    return pulls


def spectrum_figure(cell: Cell, spectrum: CellSpectrum, *, theme: Theme = "light") -> Figure:
    """Draw the spectrum of one cell: data, fit, signal window, bump and pulls.

    Args:
        cell: the test that is shown; energies in GeV.
        spectrum: its counts and expectation, bins in GeV.
        theme: palette.

    Returns:
        A figure of two panels.
    """
    cut = (
        "all events"
        if cell.efficiency >= 1
        else f"the {100 * cell.efficiency:.3g}% most anomalous events"
    )
    return draw_spectrum(
        spectrum,
        theme,
        window=cell.window_gev if cell.stage != "grid" else None,
        bump=cell.interval_gev,
        mass_label="$m_{jj}$" if cell.spectrum == "m_jj" else plain(cell.spectrum),
        note=f"{cut}\nlocal z = {cell.local_z:.1f}: {cell.n_observed} events, "
        f"{cell.n_expected:.1f} expected",
        fit_label=f"fit, p{cell.order} ($\\chi^2$/ndf = {cell.deviance:.0f}/{cell.ndf})",
    )


def inclusive_figure(
    spectrum: CellSpectrum,
    *,
    window_gev: tuple[float, float] | None = None,
    theme: Theme = "light",
) -> Figure:
    """Draw the spectrum of all events before any cut on the anomaly score.

    Args:
        spectrum: counts and expectation, bins in GeV.
        window_gev: signal window to shade, GeV, or None.
        theme: palette.

    Returns:
        A figure of two panels.
    """
    return draw_spectrum(
        spectrum, theme, window=window_gev, bump=None, note="before any cut", fit_label="fit"
    )


def draw_spectrum(
    spectrum: CellSpectrum,
    theme: Theme,
    *,
    window: tuple[float, float] | None,
    bump: tuple[float, float] | None,
    note: str,
    fit_label: str,
    bump_label: str = "largest excess",
    mass_label: str = "$m_{jj}$",
) -> Figure:
    """Draw counts over an expectation, with pulls below.

    Args:
        spectrum: counts and expectation, bins in GeV.
        theme: palette.
        window: signal window to shade, GeV, or None.
        bump: most significant interval, GeV, or None.
        note: title.
        fit_label: what the expectation is.
        bump_label: what the interval is.
        mass_label: name of the mass.

    Returns:
        A figure of two panels.
    """
    edges = np.asarray(spectrum.edges_gev) / 1000
    observed = np.asarray(spectrum.observed, dtype=np.int64)
    expected = np.asarray(spectrum.expected)
    with styled(theme) as colours:
        figure = new_figure(7.2, 5.4)
        grid = figure.add_gridspec(2, 1, height_ratios=[3, 1], hspace=0.02)
        top = figure.add_subplot(grid[0])
        low = figure.add_subplot(grid[1], sharex=top)
        _shade((top, low), window, bump, bump_label, colours)
        _counts(top, edges, observed, expected, colours, fit_label)
        _pulls(low, edges, observed, expected, bump, colours)
        top.set_title(note, loc="left", fontsize="small", color=colours.ink, linespacing=1.35)
        top.set_xlim(edges[0], edges[-1])
        top.set_ylabel("Events / bin")
        top.tick_params(labelbottom=False)
        low.set_xlabel(f"{mass_label} [TeV]", parse_math=mass_label == "$m_{jj}$")
        low.set_ylabel("Pull", loc="center")
        legend = top.legend(loc="upper right", labelcolor=colours.ink)
        legend.set_zorder(10)
        figure.align_ylabels((top, low))
    return figure


def _shade(
    panels: tuple[Axes, Axes],
    window: tuple[float, float] | None,
    bump: tuple[float, float] | None,
    bump_label: str,
    colours: Palette,
) -> None:
    for index, panel in enumerate(panels):
        if window is not None:
            panel.axvspan(
                window[0] / 1000,
                window[1] / 1000,
                color=colours.fill,
                alpha=0.35,
                linewidth=0,
                label="signal window" if index == 0 else None,
            )
        if bump is not None:
            panel.axvspan(
                bump[0] / 1000,
                bump[1] / 1000,
                color=colours.bump,
                alpha=0.22,
                linewidth=0,
                label=bump_label if index == 0 else None,
            )


def _counts(
    panel: Axes,
    edges: FloatArray,
    observed: npt.NDArray[np.int64],
    expected: FloatArray,
    colours: Palette,
    fit_label: str,
) -> None:
    centres = (edges[:-1] + edges[1:]) / 2
    low, high = garwood(observed)
    shown = observed > 0
    panel.stairs(expected, edges, color=colours.fit, linewidth=1.7, label=fit_label)
    panel.errorbar(
        centres[shown],
        observed[shown],
        yerr=np.stack([(observed - low)[shown], (high - observed)[shown]]),
        xerr=np.diff(edges)[shown] / 2,
        fmt="o",
        color=colours.ink,
        elinewidth=1.0,
        label="data",
    )
    floor = max(0.3, 0.5 * float(expected.min(initial=1.0)))
    top = float(max(observed.max(initial=1), expected.max(initial=1.0)))
    if top > 30 * floor:
        panel.set_yscale("log")
        panel.set_ylim(floor, 4 * top)
    else:
        panel.set_ylim(0, 1.6 * top + 1)


def _pulls(
    panel: Axes,
    edges: FloatArray,
    observed: npt.NDArray[np.int64],
    expected: FloatArray,
    bump: tuple[float, float] | None,
    colours: Palette,
) -> None:
    pulls = signed_pulls(observed, np.maximum(expected, 1e-9))
    inside = np.zeros(len(pulls), dtype=bool)
    if bump is not None:
        centres = 500 * (edges[:-1] + edges[1:])
        inside = (centres > bump[0]) & (centres < bump[1])
    panel.bar(
        edges[:-1],
        pulls,
        width=np.diff(edges),
        align="edge",
        color=[colours.bump if hot else colours.fit for hot in inside],
        alpha=0.85,
        linewidth=0,
    )
    panel.axhline(0, color=colours.ink, linewidth=0.8)
    for level in (-2, 2):
        panel.axhline(level, color=colours.muted, linewidth=0.7, linestyle=":")
    reach = max(3.2, 1.15 * float(np.abs(pulls).max(initial=0.0)))
    panel.set_ylim(-min(reach, max(3.2, 1.2 * float(-pulls.min(initial=0.0)))), reach)
    panel.yaxis.set_major_locator(MultipleLocator(2 if reach < 7 else 4))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.xaxis.set_minor_formatter(NullFormatter())

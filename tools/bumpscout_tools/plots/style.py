"""The look of all figures: mplhep's ROOT style at journal size, in a light and a dark palette."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib
import mplhep
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

__all__ = ["Palette", "Theme", "figure_bytes", "new_figure", "palette", "plain", "styled"]

Theme = Literal["light", "dark"]
Kind = Literal["svg", "png", "pdf"]


@dataclass(frozen=True)
class Palette:
    """Colours of one theme, distinguishable in the common colour-vision deficiencies."""

    paper: str
    ink: str
    muted: str
    fit: str
    bump: str
    fill: str
    heat: str


_PALETTES: dict[Theme, Palette] = {
    "light": Palette(
        paper="#ffffff",
        ink="#16202b",
        muted="#6b7683",
        fit="#0f62b4",
        bump="#c8460a",
        fill="#b9c7d6",
        heat="YlGnBu",
    ),
    "dark": Palette(
        paper="#171c23",
        ink="#e4e9ef",
        muted="#93a0ae",
        fit="#6cb2ff",
        bump="#ff9a5c",
        fill="#445566",
        heat="YlGnBu_r",
    ),
}

_STYLE: Any = {
    **mplhep.style.ROOT,
    "font.size": 13,
    "axes.labelsize": "medium",
    "xtick.labelsize": "small",
    "ytick.labelsize": "small",
    "legend.fontsize": "small",
    "legend.handlelength": 1.6,
    "axes.linewidth": 1.0,
    "lines.linewidth": 1.6,
    "lines.markersize": 4,
    "xtick.major.size": 6,
    "xtick.minor.size": 3,
    "ytick.major.size": 6,
    "ytick.minor.size": 3,
    "xtick.major.pad": 5,
    "xtick.major.width": 0.9,
    "ytick.major.width": 0.9,
    "xtick.minor.width": 0.7,
    "ytick.minor.width": 0.7,
    "hatch.linewidth": 0.6,
    "figure.constrained_layout.w_pad": 0.08,
    "figure.constrained_layout.h_pad": 0.08,
    "svg.fonttype": "path",
    "svg.hashsalt": "bumpscout",
    "mathtext.cal": "TeX Gyre Heros:italic",
}


def palette(theme: Theme) -> Palette:
    """Return the colours of a theme."""
    return _PALETTES[theme]


@contextmanager
def styled(theme: Theme) -> Iterator[Palette]:
    """Apply the style of a theme inside the block and restore what was there before."""
    colours = _PALETTES[theme]
    themed: Any = {
        "figure.facecolor": colours.paper,
        "savefig.facecolor": colours.paper,
        "axes.facecolor": colours.paper,
        "axes.edgecolor": colours.ink,
        "axes.labelcolor": colours.ink,
        "text.color": colours.ink,
        "xtick.color": colours.ink,
        "ytick.color": colours.ink,
        "hatch.color": colours.muted,
    }
    with matplotlib.rc_context({**_STYLE, **themed}):
        yield colours


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of ``width`` x ``height`` inches that belongs to no window."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def figure_bytes(figure: Figure, kind: Kind = "svg", *, dpi: int = 150) -> bytes:
    """Render a figure; the same figure gives the same bytes.

    Args:
        figure: a figure of this package.
        kind: ``svg`` (text as outlines, so it needs no font), ``png`` or ``pdf``.
        dpi: resolution of a PNG in dots an inch.

    Returns:
        The file's content.
    """
    metadata: Any = {
        "svg": {"Date": None, "Creator": None},
        "png": {"Software": None},
        "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    }[kind]
    buffer = io.BytesIO()
    with matplotlib.rc_context(_STYLE):
        paper = figure.get_facecolor()
        figure.savefig(buffer, format=kind, dpi=dpi, metadata=metadata, facecolor=paper)
    return buffer.getvalue()


def plain(text: str, limit: int = 48) -> str:
    """Return foreign text as it may stand in a figure: printable Latin, one line, capped."""
    shown = "".join(
        character if character.isprintable() and ord(character) < 0x250 else "?"
        for character in text
    )
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."

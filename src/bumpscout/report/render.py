"""Renders ``report.html`` and ``report.md`` from a run folder, which may be hostile."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from bumpscout.evidence import Evidence, read_evidence
from bumpscout.files import read_model
from bumpscout.report.escape import markdown_escape, markdown_finalize
from bumpscout.report.figures import draw_figures, write_figures
from bumpscout.report.page import Page, make_page
from bumpscout.result import Result, read_result
from bumpscout.scan_limits import read_limits
from bumpscout.words import printable
from bumpscout_tools.files import write_atomic
from bumpscout_tools.scan.limits_scan import ScanLimits
from bumpscout_tools.scan.plan import SearchPlan

__all__ = ["render_html", "render_markdown", "render_report"]

_TEMPLATES = files("bumpscout.report") / "templates"


def render_report(folder: Path) -> tuple[Path, Path]:
    """Draw the figures and write both reports of a run folder.

    Args:
        folder: a run folder with ``result.json``; the other files are used where they exist.

    Returns:
        The paths of ``report.html`` and ``report.md``.

    Raises:
        ConfigurationError: if a file of the folder is no file of ours, or the folder is read-only.
    """
    result = read_result(folder)
    evidence = read_evidence(folder) or Evidence()
    plan_file = folder / "plan.json"
    plan = read_model(plan_file, SearchPlan) if plan_file.exists() else None
    return write_report(folder, result, evidence, plan, read_limits(folder))


def write_report(
    folder: Path,
    result: Result,
    evidence: Evidence,
    plan: SearchPlan | None,
    limits: ScanLimits | None = None,
) -> tuple[Path, Path]:
    """Draw the figures and write both reports from records in memory.

    Raises:
        ConfigurationError: if the folder cannot be written.
    """
    figures = draw_figures(evidence, limits)
    page = make_page(result, evidence, plan, figures, limits)
    write_figures(folder, figures)
    html, markdown = folder / "report.html", folder / "report.md"
    write_atomic(html, render_html(page))
    write_atomic(markdown, render_markdown(page))
    return html, markdown


def render_html(page: Page) -> str:
    """Return one self-contained page without scripts and without addresses of other hosts."""
    style = _source("style.css")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    environment = Environment(
        loader=FunctionLoader(_source),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable_text,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("report.html.j2")
    return template.render(page=page, style=Markup(style), style_hash=digest)


def render_markdown(page: Page) -> str:
    """Return the same report as Markdown; figures are files beside it."""
    environment = Environment(
        loader=FunctionLoader(_source),
        autoescape=False,
        undefined=StrictUndefined,
        finalize=markdown_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )

    def picture(name: str) -> Markup:
        if name not in page.figures:
            return Markup("")
        return Markup(f"![{markdown_escape(page.figures[name].alt)}](figures/{name}.png)")

    return environment.get_template("report.md.j2").render(page=page, picture=picture)


def _source(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _printable_text(value: object) -> object:
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return printable(value)

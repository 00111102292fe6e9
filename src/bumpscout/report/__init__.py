"""The report of a run: figures, ``report.html`` and ``report.md``."""

from bumpscout.report.render import render_report

__all__ = ["render_report"]

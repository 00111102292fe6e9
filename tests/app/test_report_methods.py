"""The sections of the report on what anomalous events are, and on how alike detectors are."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pydantic import ValidationError

from bumpscout.evidence import Evidence
from bumpscout.report.figures import draw_figures
from bumpscout.report.page import make_page
from bumpscout.report.render import render_html, render_markdown
from bumpscout.result import Result
from bumpscout_tools.detectors.correlation import Correlation, correlate
from bumpscout_tools.detectors.explain import Anomalous, Difference

HOSTILE = "<b onload=x>$\\frac{1}{0}$"


def records(
    make_run: Callable[[str], tuple[Result, Evidence]], name: str
) -> tuple[Result, Evidence]:
    result, evidence = make_run("mj_light")
    found = Anomalous(
        n_selected=83,
        n_typical=9303,
        method="surrogate tree contributions",
        explained=0.62,
        features=(
            Difference(feature=name, shift=-1.893, shift_error=0.05, share=0.7, share_error=0.03),
            Difference(feature="tau21_light", shift=0.2, shift_error=0.1, share=0.3, share_error=0),
        ),
    )
    alike = correlate([name, "cathode"], [[0.1, 0.2, 0.3, 0.4], [0.2, 0.1, 0.3, 0.4]], (0.5,))
    examples = evidence.examples.model_copy(update={"differences": found, "correlation": alike})
    return (
        result.model_copy(update={"anomalous": found, "correlation": alike}),
        evidence.model_copy(update={"examples": examples}),
    )


def test_both_reports_give_the_numbers(make_run) -> None:
    result, evidence = records(make_run, "mj_light")
    page = make_page(result, evidence, None, {})
    for text in (render_html(page), render_markdown(page)):
        assert "-1.89 \u00b1 0.05" in text or "\\-1.89" in text
        assert "70 \u00b1 3%" in text
        assert "62% of its variance" in text
        assert "83 events of the window pass the cut" in text
        assert "rank correlation 0.80" in text
        assert "100% at 50%" in text


def test_figures_and_tables_take_foreign_names_as_text(make_run) -> None:
    result, evidence = records(make_run, HOSTILE)
    figures = draw_figures(evidence)
    assert {"differences", "correlation"} <= set(figures)
    text = render_html(make_page(result, evidence, None, figures))
    assert "<b onload" not in text
    assert "&lt;b onload=x&gt;" in text


def test_reports_without_these_records_have_no_such_section(make_run) -> None:
    result, evidence = make_run("mj_light")
    text = render_markdown(make_page(result, evidence, None, {}))
    assert "How alike the detectors are" not in text
    assert "part of the score" not in text


def test_a_matrix_that_is_no_square_is_refused() -> None:
    with pytest.raises(ValidationError, match="2 rows of 2 values"):
        Correlation(methods=("a", "b"), n_events=5, spearman=((1.0, 0.1), (0.1,)))

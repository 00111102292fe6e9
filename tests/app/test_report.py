"""The report: hostile text stays text, nothing is loaded or run, numbers agree with the result."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from bumpscout.evidence import Evidence, write_evidence
from bumpscout.report import render_report
from bumpscout.report.escape import markdown_escape
from bumpscout.report.figures import Drawn
from bumpscout.report.page import make_page
from bumpscout.report.render import render_html, render_markdown
from bumpscout.result import Result, write_result
from bumpscout_tools.errors import ConfigurationError
from bumpscout_tools.scan.plan import SearchPlan

HOSTILE = (
    "<script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    "\"><svg/onload=document.title='owned'>",
    "{{ 7 * 7 }} {% raw %} ${7*7}",
    "[click](javascript:alert(1)) ![x](http://127.0.0.1:9/x.png)",
    "</style><style>body{display:none}</style>",
    "\x1b[2J\x1b]0;owned\x07 \u202egnp.exe \x00",
    "| a | b |\n|---|---|\n# heading\n- item\n> quote\n```\ncode",
    "http://evil.example www.evil.example <http://evil.example>",
    "x" * 10_000,
)


Made = tuple[Result, Evidence]


@pytest.fixture(scope="module")
def figures() -> dict[str, Drawn]:
    """Stand-ins of the figures, which take time to draw."""
    names = ("spectrum", "inclusive", "heatmap", "replays", "features")
    return {name: Drawn(name, f"What {name} shows.", b"<svg/>", b"<svg/>", b"") for name in names}


@pytest.fixture
def render(figures: dict[str, Drawn]) -> Callable[[Made], tuple[str, str]]:
    """Render both reports without drawing."""

    def both(made: Made) -> tuple[str, str]:
        page = make_page(*made, SearchPlan(), figures)
        return render_html(page), render_markdown(page)

    return both


@pytest.fixture
def write_run(tmp_path: Path, make_run: Callable[[str], Made]) -> Callable[..., Path]:
    """Write the files that a report is drawn from into a run folder."""

    def write(text: str = "harmless") -> Path:
        folder = tmp_path / "run"
        folder.mkdir()
        result, evidence = make_run(text)
        write_result(folder, result)
        write_evidence(folder, evidence)
        (folder / "plan.json").write_text(SearchPlan().model_dump_json())
        return folder

    return write


class Tags(HTMLParser):
    """Collects tags and attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_makes_no_markup_in_html(render, make_run, text):
    plain, _ = render(make_run("harmless"))
    page, _ = render(make_run(text))
    assert [tag for tag, _ in Tags(page).found] == [tag for tag, _ in Tags(plain).found]
    for _, attributes in Tags(page).found:
        assert not any(name.startswith("on") for name in attributes)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202e]", page)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_makes_no_markup_in_markdown(render, make_run, text):
    _, plain = render(make_run("harmless"))
    _, markdown = render(make_run(text))
    assert "<" not in markdown
    assert not re.search(r"(?<!\\)[\w]+://|(?<!\\)www\.\w", markdown)
    assert len(re.findall(r"(?<!\\)!\[", markdown)) == len(re.findall(r"(?<!\\)!\[", plain))
    assert len(markdown.splitlines()) == len(plain.splitlines())
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202e]", markdown)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a*b_c", r"a\*b\_c"),
        ("1. first", r"1\. first"),
        ("# x", r"\# x"),
        ("3.5 TeV", "3.5 TeV"),
        ("a\nb", "a b"),
        ("<b>", "&lt;b&gt;"),
        ("[a](b)", r"\[a\](b)"),
    ],
)
def test_markdown_escape(text, shown):
    assert markdown_escape(text) == shown


def test_page_is_self_contained_and_forbids_scripts(render, make_run):
    page, _ = render(make_run("harmless"))
    tags = Tags(page).found
    policy = next(a["content"] for t, a in tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "unsafe-inline" not in policy
    assert "script" not in {tag for tag, _ in tags}
    sources = [a.get("src") or a.get("srcset") for t, a in tags if t in {"img", "source"}]
    assert len(sources) == 10
    assert all(source and source.startswith("data:image/svg+xml;base64,") for source in sources)
    assert all(attributes.get("alt") for tag, attributes in tags if tag == "img")
    assert not re.search(r"(src|href|srcset)=\"(?!data:)", page)


def test_reports_say_the_numbers_of_the_result(render, make_run):
    page, markdown = render(make_run("harmless"))
    for text in (html.unescape(page), markdown):
        assert "0 of 20 null replays reached it" in text
        assert "procedure p = 0.048" in text
        assert "3.50 TeV" in text
        assert "80 / 30.5" in text
    assert "1 replays failed" in markdown


def test_a_run_that_ended_before_the_data_still_has_a_report(tmp_path, make_result):
    write_result(
        tmp_path,
        make_result(
            "x",
            status="failed",
            reason="No sandbox.",
            headline="The search ended before a verdict: No sandbox.",
            verdict=None,
            claim=None,
            bumps=(),
            dataset=None,
            plan=None,
            ledger=None,
            tasks=(),
        ),
    )
    page, markdown = render_report(tmp_path)
    assert "No sandbox." in page.read_text()
    assert "The file was not opened." in markdown.read_text()


def test_links_in_the_folder_are_not_followed(write_run, tmp_path):
    folder = write_run()
    victim = tmp_path / "victim.json"
    victim.write_bytes((folder / "evidence.json").read_bytes())
    (folder / "evidence.json").unlink()
    (folder / "evidence.json").symlink_to(victim)
    with pytest.raises(ConfigurationError, match="evidence"):
        render_report(folder)


def test_figures_are_not_written_through_a_link(write_run, tmp_path):
    folder = write_run()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (folder / "figures").symlink_to(elsewhere)
    with pytest.raises(ConfigurationError, match="figures"):
        render_report(folder)
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("outcome", "inclusive", "edges_gev", 3), 1e300),
        (("outcome", "inclusive", "expected"), []),
        (("outcome", "cells", 0, "efficiency"), -1),
        (("outcome", "cells", 0, "window_gev"), [0, 0]),
        (("outcome", "ranking"), [999]),
        (("examples", "typical"), [[1.0]]),
        (("surprise",), 1),
    ],
    ids=lambda value: str(value)[:40],
)
def test_impossible_evidence_is_refused(write_run, path, value):
    folder = write_run()
    content = json.loads((folder / "evidence.json").read_text())
    place = content
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    (folder / "evidence.json").write_text(json.dumps(content))
    with pytest.raises(ConfigurationError, match="schema"):
        render_report(folder)


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_a_browser_runs_nothing_of_it(write_run, tmp_path):
    page, _ = render_report(write_run(" ".join(HOSTILE[:6])))
    done = subprocess.run(
        [
            *("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
            *(f"--user-data-dir={tmp_path / 'profile'}", f"file://{page}"),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "<title>Candidate: 20260101-000000-abcd</title>" in done.stdout
    assert len(Tags(done.stdout).found) == len(Tags(page.read_text()).found)

"""The HTML page as a file."""

from __future__ import annotations

import html
import re
import sys

import pytest
from support.html_text import words_of

import waterfill as wf
from waterfill.reporting import page_sections

CHARTS = ("recall", "growth", "spectrum", "bits", "distortion")


def test_heading_is_the_answer(page, result):
    source = page.read_text(encoding="utf-8")
    heading = html.unescape(re.search(r"<h1>(.*?)</h1>", source)[1]).replace("\xa0", " ")
    assert heading == (
        "64-dimensional float32 vectors fit in 13 bytes, 19.7 times smaller, and searches find "
        f"{100 * result.growth.at(2_000_000).recall:.1f} % of the 10 true nearest neighbours among "
        "2 million."
    )


def test_page_has_all_sections(page, result, peers):
    text = words_of(page)
    assert result.reason in text
    assert "2 million" in text
    assert "price per month" in text
    for peer in peers:
        assert peer.name in text
    for chart in CHARTS:
        assert f'id="chart-{chart}"' in page.read_text(encoding="utf-8")
    assert "2 dimensions never change" in text
    assert "product-quantized" in text
    assert "x, plan, seed=0, cells=0" in text


def test_page_is_small_and_self_contained(page):
    source = page.read_text(encoding="utf-8")
    assert len(source) < 2_000_000
    before_scripts = source.partition("<script")[0]
    assert not re.search(r' (?:src|href)="(?!data:|#)', before_scripts)
    assert not re.search(r"<script[^>]* src", source)
    assert "default-src 'none'" in source


def test_edge_cases_have_no_nan_and_no_markup(edge_case_pages):
    for name, path in edge_case_pages.items():
        text = words_of(path)
        assert "nan" not in text.split(), name
        assert "inf" not in text.split(), name
        assert "<script>alert" not in path.read_text(encoding="utf-8"), name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("one trial, one size", "1 trial."),
        ("classic", "one bit each"),
        ("two dimensions", "the true nearest neighbours"),
        ("cells", "16 cells"),
        ("cosine", "normalize=True"),
        ("l2", "Euclidean distance"),
        ("no speed", "not measured"),
        ("findings", "40 rows have a NaN or an infinity"),
        ("l2", "No findings."),
        ("stopped", "was stopped early"),
        ("few rows", "fewer than"),
        ("markup", "<script>alert(1)</script> & $$answer $title"),
    ],
)
def test_text_of_edge_cases(edge_case_pages, name, expected):
    assert expected in words_of(edge_case_pages[name]).replace("\xa0", " ")


def test_recipe_runs(result, page, edge_cases, edge_case_pages):
    names = ("classic", "cosine", "l2")
    for one, path in (
        (result, page),
        *((edge_cases[name], edge_case_pages[name]) for name in names),
    ):
        code = re.search(r'aria-label="Commands">(.*?)</pre>', path.read_text(), re.DOTALL)[1]
        scope = {"x": one.split.base}
        exec(html.unescape(code), scope)
        assert scope["index"].metric == one.metric
        assert scope["codec"].plan.code_size == one.codec.plan.code_size


def test_manifest_is_shown(result, page):
    text = words_of(page)
    manifest = result.codec.manifest
    assert manifest.data_sha256 in text
    assert manifest.created in text


def test_codec_without_a_manifest(edge_cases, tmp_path, monkeypatch):
    monkeypatch.setattr(wf.Codec, "manifest", None)
    text = words_of(wf.report(edge_cases["l2"], tmp_path / "report.html", peers=False))
    assert "This codec has no manifest." in text


@pytest.mark.parametrize("n_queries", [0, 100])
def test_result_of_optimize(clustered, tmp_path, n_queries):
    queries = clustered[:n_queries] if n_queries else None
    result = wf.optimize(clustered, queries, target_recall=0.7, time_budget=2, metric="l2")
    text = words_of(wf.report(result, tmp_path / "report.html", peers=False))
    assert result.reason in text
    assert f"expected among {result.ntotal:,}" in text
    assert result.objective in text
    scope = {"x": result.split.base, "result": result}
    exec(page_sections.recipe(result), scope)
    assert scope["codec"].manifest.codes_sha256 == result.codec.manifest.codes_sha256


def test_peers_are_measured_on_the_split(edge_cases, tmp_path):
    wf.set_num_threads(1)
    text = words_of(wf.report(edge_cases["l2"], tmp_path / "report.html"))
    assert "SQ8" in text
    assert "trained on 1,500 rows" in text


def test_left_out_peers_have_a_reason(edge_cases, tmp_path):
    text = words_of(wf.report(edge_cases["few rows"], tmp_path / "report.html"))
    assert "is left out: 20 rows are fewer than 256 centroids" in text


def test_missing_faiss_is_noted_on_the_page(edge_cases, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    text = words_of(wf.report(edge_cases["l2"], tmp_path / "report.html"))
    assert 'needs FAISS: pip install ".[faiss]"' in text


@pytest.mark.parametrize("module", ["altair", "vl_convert"])
def test_missing_packages_name_the_extra(edge_cases, tmp_path, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r'pip install "\.\[report\]"'):
        wf.report(edge_cases["l2"], tmp_path / "report.html")
    assert not list(tmp_path.iterdir())


def test_file_is_written_atomically(edge_cases, tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("before")
    monkeypatch.setattr("waterfill.reporting.page._findings", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        wf.report(edge_cases["l2"], path, peers=False)
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [
        ("report.html", "before")
    ]


@pytest.mark.parametrize(
    ("change", "error", "expected"),
    [
        ({"result": 3}, TypeError, "result must be a Result as returned by optimize, got int"),
        ({"path": 3}, TypeError, "path must be a str"),
        ({"path": "no/such/directory/report.html"}, FileNotFoundError, "no/such/directory"),
        ({"peers": "all"}, TypeError, "peers must be True, False or a list of Peer"),
        ({"peers": [1]}, TypeError, "peers must hold Peer, got int"),
        ({"n": 0}, ValueError, "n=0"),
        ({"n": 1.5}, TypeError, "n must be an int"),
        ({"price_per_gb": -1}, ValueError, "price_per_gb=-1"),
    ],
)
def test_invalid_arguments_raise(edge_cases, tmp_path, change, error, expected):
    arguments = {
        "result": edge_cases["l2"],
        "path": tmp_path / "report.html",
        "peers": False,
        **change,
    }
    with pytest.raises(error, match=expected):
        wf.report(**arguments)
    assert not list(tmp_path.iterdir())

"""The page as a file."""

from __future__ import annotations

import html
import re
import sys

import pytest
from support.html_text import words_of

import waterfill as wf
from waterfill.reporting import page_sections

CHARTS = ("recall", "growth", "spectrum", "bits", "distortion")


def test_it_answers_first(page, result):
    source = page.read_text(encoding="utf-8")
    heading = html.unescape(re.search(r"<h1>(.*?)</h1>", source)[1]).replace("\xa0", " ")
    assert heading == (
        "64-dimensional float32 vectors fit in 13 bytes, 19.7 times smaller, and searches find "
        f"{100 * result.growth.at(2_000_000).recall:.1f} % of the 10 true nearest neighbours among "
        "2 million."
    )


def test_it_tells_the_whole_story(page, result, peers):
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


def test_it_is_small_and_needs_nothing(page):
    source = page.read_text(encoding="utf-8")
    assert len(source) < 2_000_000
    before_scripts = source.partition("<script")[0]
    assert not re.search(r' (?:src|href)="(?!data:|#)', before_scripts)
    assert not re.search(r"<script[^>]* src", source)
    assert "default-src 'none'" in source


def test_odd_results(odd_pages):
    for name, path in odd_pages.items():
        text = words_of(path)
        assert "nan" not in text.split(), name
        assert "inf" not in text.split(), name
        assert "<script>alert" not in path.read_text(encoding="utf-8"), name


@pytest.mark.parametrize(
    ("name", "said"),
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
def test_what_odd_results_say(odd_pages, name, said):
    assert said in words_of(odd_pages[name]).replace("\xa0", " ")


def test_the_recipe_runs(result, page, odd, odd_pages):
    names = ("classic", "cosine", "l2")
    for one, path in ((result, page), *((odd[name], odd_pages[name]) for name in names)):
        code = re.search(r'aria-label="Commands">(.*?)</pre>', path.read_text(), re.DOTALL)[1]
        scope = {"x": one.split.base}
        exec(html.unescape(code), scope)
        assert scope["index"].metric == one.metric
        assert scope["codec"].plan.code_size == one.codec.plan.code_size


def test_a_codecs_record_is_shown(result, page):
    text = words_of(page)
    manifest = result.codec.manifest
    assert manifest.data_sha256 in text
    assert manifest.created in text


def test_a_codec_without_a_record(odd, tmp_path, monkeypatch):
    monkeypatch.setattr(wf.Codec, "manifest", None)
    text = words_of(wf.report(odd["l2"], tmp_path / "report.html", peers=False))
    assert "This codec has no manifest." in text


@pytest.mark.parametrize("asked", [0, 100])
def test_what_optimize_returns(clustered, tmp_path, asked):
    queries = clustered[:asked] if asked else None
    found = wf.optimize(clustered, queries, target_recall=0.7, time_budget=2, metric="l2")
    text = words_of(wf.report(found, tmp_path / "report.html", peers=False))
    assert found.reason in text
    assert f"expected among {found.ntotal:,}" in text
    assert found.objective in text
    scope = {"x": found.split.base, "result": found}
    exec(page_sections.recipe(found), scope)
    assert scope["codec"].manifest.codes_sha256 == found.codec.manifest.codes_sha256


def test_peers_are_measured_on_the_split(odd, tmp_path):
    wf.set_num_threads(1)
    text = words_of(wf.report(odd["l2"], tmp_path / "report.html"))
    assert "SQ8" in text
    assert "trained on 1,500 rows" in text


def test_peers_that_cannot_be_trained_have_a_reason(odd, tmp_path):
    text = words_of(wf.report(odd["few rows"], tmp_path / "report.html"))
    assert "is left out: 20 rows are fewer than 256 centroids" in text


def test_without_faiss_the_page_says_so(odd, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    text = words_of(wf.report(odd["l2"], tmp_path / "report.html"))
    assert 'needs FAISS: pip install "waterfill[faiss]"' in text


@pytest.mark.parametrize("module", ["altair", "vl_convert"])
def test_without_its_packages_it_says_how_to_get_them(odd, tmp_path, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r'pip install "waterfill\[report\]"'):
        wf.report(odd["l2"], tmp_path / "report.html")
    assert not list(tmp_path.iterdir())


def test_a_file_appears_whole_or_not_at_all(odd, tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("before")
    monkeypatch.setattr("waterfill.reporting.page._findings", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        wf.report(odd["l2"], path, peers=False)
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [
        ("report.html", "before")
    ]


@pytest.mark.parametrize(
    ("change", "error", "said"),
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
def test_bad_input(odd, tmp_path, change, error, said):
    given = {"result": odd["l2"], "path": tmp_path / "report.html", "peers": False, **change}
    with pytest.raises(error, match=said):
        wf.report(**given)
    assert not list(tmp_path.iterdir())

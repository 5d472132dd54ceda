"""HTML representations of indexes, codecs, swaps, monitors, checks, manifests and estimates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support import trained
from support.html_text import Words

import waterfill as wf
from waterfill.sizing import Rates, estimate

RATES = Path(__file__).parents[1] / "sizing" / "rates-768.json"


def words(thing):
    return Words(thing._repr_html_()).text


@pytest.fixture(scope="module")
def codec_16(base_64):
    return trained.trained(base_64, 12, cells=16)


def test_an_index_says_what_it_holds_and_takes(base_64, codec_16):
    assert "not trained" in words(wf.IndexFlat(wf.Recipe(64, 12)))
    index = wf.IndexIVF(codec_16, 16, refine="int8")
    index.add(base_64)
    text = words(index)
    assert "IndexIVF" in text
    assert f"{len(base_64):,} of 64 dimensions" in text
    assert f"{index.bytes_per_vector:.4g} (code 13, place in its list" in text
    assert "int8 rows, k_factor 4" in text
    graph = wf.IndexHNSW(64, 16)
    graph.train(base_64)
    assert "16 links per vector" in words(graph)


def test_an_index_in_a_folder_and_one_that_manages_itself(base_64, codec_16, tmp_path):
    wf.build(base_64, tmp_path / "a.wfx", codec_16)
    with wf.open_index(tmp_path / "a.wfx") as index:
        assert f"{len(base_64):,} of 64 dimensions" in words(index)
    options = {"d": 64, "code_bytes": 12, "background": "off"}
    with wf.open_index(tmp_path / "b.wfx", "a", **options) as index:
        assert "a first codec is trained at" in words(index)


def test_a_codec_and_its_manifest(codec_16):
    text = words(codec_16)
    assert f"{codec_16.code_size} bytes" in text
    assert f"{codec_16.bytes_per_vector['ip']:.4g} bytes per vector" in text
    assert codec_16.manifest is not None
    assert words(codec_16.manifest) in text
    assert codec_16.manifest.data_sha256[:16] in text


def test_a_swap_shows_its_generations(base_64, codec_16):
    index = wf.IndexFlat(codec_16)
    index.add(base_64)
    swap = wf.SwapIndex(index)
    page = swap._repr_html_()
    assert "start" in Words(page).text
    assert codec_16.fingerprint[:12] in page


def test_a_monitor(base_64, codec_16):
    monitor = wf.DriftMonitor.from_codec(codec_16, base_64[:1000])
    monitor.update(base_64[1000:1500])
    text = words(monitor)
    assert "1,000" in text
    assert "500" in text


def test_text_of_users_is_escaped(base_64):
    bad = base_64[:50].copy()
    bad[3, 0] = np.nan
    page = wf.check(bad, policy="drop", name="<script>x</script>")._repr_html_()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "Refused: 1 row." in page
    assert "No row is refused." in wf.check(base_64[:50])._repr_html_()


def test_estimates_say_that_they_extrapolate(result):
    found = estimate(1e8, 768, 96, rates=Rates.load(RATES), price_per_hour=1)
    text = words(found)
    assert f"{found.storage.bytes_per_vector:.4g}" in text
    assert "extrapolated, without an interval" in text
    assert found.assumptions[0] in text
    own = words(result.estimate(10**6, price_per_gb=2))
    assert "extrapolated from the sample" in own
    assert str(result.expected_recall(10**6)) in own


def test_a_figure_is_a_picture_in_notebooks(result):
    pytest.importorskip("matplotlib")
    assert result.plot()._repr_png_().startswith(b"\x89PNG")

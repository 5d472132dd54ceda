"""The estimators for scikit-learn: its own checks, and real digits."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.store_checks import load

if sys.version_info < (3, 11):
    pytest.skip("the pinned scikit-learn needs Python 3.11", allow_module_level=True)

base, checks, datasets, model_selection, neighbors, pipeline, cluster = load(
    "sklearn.base",
    "sklearn.utils.estimator_checks",
    "sklearn.datasets",
    "sklearn.model_selection",
    "sklearn.neighbors",
    "sklearn.pipeline",
    "sklearn.cluster",
)

from waterfill.integrations.sklearn import (  # noqa: E402
    WaterfillNeighborsTransformer,
    WaterfillTransformer,
)

Rows = NDArray[np.float64]


@checks.parametrize_with_checks(
    [
        WaterfillTransformer(),
        WaterfillTransformer(code_bytes=1, weighting=0.2, effort="fast"),
        WaterfillNeighborsTransformer(),
        WaterfillNeighborsTransformer(2, mode="connectivity", metric="cosine", refine=None),
    ]
)
def test_it_passes_the_checks_of_the_host(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.fixture(scope="module")
def digits() -> tuple[Rows, NDArray[np.int64]]:
    """1,797 real images of 64 pixels."""
    return datasets.load_digits(return_X_y=True)


def test_codes_are_decoded(digits: tuple[Rows, Any]) -> None:
    rows = digits[0]
    transformer = WaterfillTransformer(16).fit(rows[:1200])
    codes = transformer.transform(rows[1200:])
    assert codes.dtype == np.uint8
    assert codes.shape == (597, 17)
    decoded = transformer.inverse_transform(codes)
    assert decoded.shape == (597, 64)
    np.testing.assert_array_equal(decoded, transformer.codec_.decode(codes))
    np.testing.assert_array_equal(decoded, transformer.inverse_transform(codes.astype(np.float64)))

    def error(one: Any) -> float:
        again = one.inverse_transform(one.transform(rows[1200:]))
        return float(((again - rows[1200:]) ** 2).sum() / ((rows - rows.mean(0)) ** 2).sum() * 3)

    errors = [error(WaterfillTransformer(n).fit(rows[:1200])) for n in (4, 8, 16, 32)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] < 0.6
    assert errors[-1] < 0.05
    assert error(transformer) < error(WaterfillTransformer(16, weighting=0.6).fit(rows[:1200]))


def test_names_of_features(digits: tuple[Rows, Any]) -> None:
    transformer = WaterfillTransformer(3).set_output(transform="pandas")
    table = transformer.fit_transform(digits[0])
    names = [f"waterfilltransformer{n}" for n in range(4)]
    assert [*table.columns] == [*transformer.get_feature_names_out()] == names


@pytest.mark.parametrize(("metric", "theirs"), [("euclidean", "euclidean"), ("cosine", "cosine")])
@pytest.mark.parametrize("mode", ["distance", "connectivity"])
def test_the_graph_is_that_of_the_host(
    digits: tuple[Rows, Any], metric: str, theirs: str, mode: str
) -> None:
    rows = digits[0]
    options = {"n_neighbors": 5, "mode": mode}
    ours = WaterfillNeighborsTransformer(metric=metric, **options).fit(rows[:1500])
    exact = neighbors.KNeighborsTransformer(metric=theirs, algorithm="brute", **options)
    exact.fit(rows[:1500])
    for some in (rows[1500:], rows[:1500]):
        got, expected = ours.transform(some), exact.transform(some)
        assert got.shape == expected.shape
        assert got.nnz == expected.nnz
        assert np.mean([
            len({*got[i].indices} & {*expected[i].indices}) / got[i].nnz for i in range(len(some))
        ]) > 0.95  # fmt: skip
        if mode == "distance":
            same = expected.toarray()[got.nonzero()]
            there = same > 0
            got_there = np.asarray(got[got.nonzero()]).ravel()[there]
            np.testing.assert_allclose(got_there, same[there], rtol=0.01, atol=1e-3)
            assert all((np.diff(got[i].data) >= 0).all() for i in range(len(some)))
    graph = ours.transform(rows[:1500])
    if mode == "distance":
        assert np.mean(graph.indices.reshape(1500, 6)[:, 0] == np.arange(1500)) > 0.99
        assert graph.diagonal().max() < 0.1


def test_a_classifier_takes_the_graph(digits: tuple[Rows, NDArray[np.int64]]) -> None:
    rows, labels = digits

    def model(transformer: Any) -> Any:
        return pipeline.make_pipeline(
            transformer, neighbors.KNeighborsClassifier(5, metric="precomputed")
        )

    def score(transformer: Any) -> float:
        chosen = model_selection.cross_val_score(model(transformer), rows, labels, cv=3)
        return float(chosen.mean())

    exact = score(neighbors.KNeighborsTransformer(n_neighbors=5))
    assert exact > 0.95
    assert abs(score(WaterfillNeighborsTransformer(5)) - exact) < 0.01
    grid = {"waterfillneighborstransformer__code_bytes": [1, 8]}
    search = model_selection.GridSearchCV(model(WaterfillNeighborsTransformer(5)), grid, cv=3)
    search.fit(rows, labels)
    assert abs(search.best_score_ - exact) < 0.01


def test_estimators_are_cloned_and_pickled(digits: tuple[Rows, Any]) -> None:
    rows = digits[0][:300]
    for one in (WaterfillTransformer(8), WaterfillNeighborsTransformer(3)):
        again = pickle.loads(pickle.dumps(base.clone(one).fit(rows)))
        expected, got = one.fit(rows).transform(rows), again.transform(rows)
        if hasattr(expected, "toarray"):
            expected, got = expected.toarray(), got.toarray()
        np.testing.assert_array_equal(got, expected)


def test_bad_input(digits: tuple[Rows, Any]) -> None:
    rows = digits[0][:20]
    with pytest.raises(ValueError, match="code_bytes=65 must be from 1"):
        WaterfillTransformer(65).fit(rows)
    fitted = WaterfillTransformer(8).fit(rows)
    with pytest.raises(ValueError, match="X: expected codes, which are integers"):
        fitted.inverse_transform(np.full((1, 9), 0.5))
    with pytest.raises(ValueError, match="X: expected codes from 0 to 255, got values from 0 to"):
        fitted.inverse_transform([[0] * 8 + [256]])
    with pytest.raises(ValueError, match="codes"):
        fitted.inverse_transform(np.zeros((1, 5), np.uint8))
    for arguments, message in [
        ({"mode": "x"}, "mode: expected 'distance' or 'connectivity', got 'x'"),
        ({"metric": "manhattan"}, "metric: expected one of .* got 'manhattan'"),
    ]:
        with pytest.raises(ValueError, match=message):
            WaterfillNeighborsTransformer(**arguments).fit(rows)
    with pytest.raises(ValueError, match="n_neighbors: expected 1 to 19, since 20 rows were"):
        WaterfillNeighborsTransformer(20).fit(rows).transform(rows)


def test_without_the_host_the_error_names_the_extra() -> None:
    program = (
        "import sys; sys.modules['sklearn'] = None\n"
        "try:\n    import waterfill.integrations.sklearn\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == (
        'waterfill.integrations.sklearn needs scikit-learn: pip install ".[scikit-learn]" '
        "in a checkout of waterfill"
    )

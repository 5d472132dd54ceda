"""Recall forecast from a sample, compared with the recall measured in the full collection.

Run ``python bench/recall_forecast.py --data minilm:ip:8000:50000,200000``. It trains a codec on a
random sample as `waterfill.optimize` does and extrapolates its recall. Then it adds the rest of the
collection and measures recall with the queries of the forecast and with as many others.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

# Set before importing NumPy: its BLAS reads the variable when it is loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import corpora
import numpy as np
from datasets import QUERIES
from methods import Array, set_threads

from waterfill import IndexFlat, analyze
from waterfill._util.validation import metric_name
from waterfill.evaluation.ground_truth import true_neighbours
from waterfill.evaluation.recall_extrapolation import Expected, Growth, measure_growth, optimism_of
from waterfill.evaluation.sample_split import Split, split_sample
from waterfill.optimizer.search_strategy import even
from waterfill.optimizer.trial import TrialSettings
from waterfill.optimizer.trial_measurement import fill, train
from waterfill.optimizer.trial_runner import PARTS

K = 10
DATA = (
    "minilm:ip:8000:50000,160000",
    "minilm:ip:20000:200000",
    "mpnet:ip:8000:29000",
    "wordllama:ip:8000:50000",
    "wordllama:l2:8000:50000",
    "wordllama:ip:20000:160000",
    "wordllama:l2:20000:160000",
    "wordllama:ip:20000:300000,500000",
    "wordllama:l2:20000:300000,500000",
    "frword:ip:4000:19000",
    "frword:l2:4000:19000",
)
_SOURCE = re.compile(
    r"(?P<name>.+?):(?P<metric>ip|l2|cosine):(?P<sample>\d+):(?P<sizes>\d+(?:,\d+)*)"
)
_DIMENSIONS_PER_BYTE = (32, 16, 8, 4)


@dataclass(frozen=True)
class Case:
    """A sample and the collection that it was drawn from.

    Attributes
    ----------
    split : Split
        Stored rows and queries of the sample.
    rest : array
        The other rows of the collection, in random order.
    others : array
        Other queries from the same distribution.
    """

    name: str
    split: Split
    rest: Array
    others: Array
    sample: int
    sizes: Sequence[int]


@dataclass(frozen=True)
class Line:
    """Forecast and measured recall of a collection."""

    size: int
    expected: Expected
    measured: float
    others: float

    @property
    def error(self) -> float:
        """Forecast minus measured recall, with the same queries."""
        return self.expected.recall - self.measured


def draw(source: str, cache: str | None, seed: int) -> Case:
    """Draw a sample and other queries at random from all rows and queries of a data set."""
    parts = _SOURCE.fullmatch(source)
    if parts is None:
        raise SystemExit(f"error: --data: expected NAME:METRIC:SAMPLE:SIZE,SIZE, got {source!r}")
    sample, sizes = int(parts["sample"]), sorted(map(int, parts["sizes"].split(",")))
    corpus = corpora.find(parts["name"], cache, sizes[-1] + QUERIES)
    rows = np.concatenate([corpus.base, corpus.query])
    if len(rows) < sizes[-1] + 2 * QUERIES:
        raise SystemExit(
            f"error: {source}: expected {sizes[-1] + QUERIES:,} base rows or more, "
            f"got {len(corpus.base):,}"
        )
    rows = rows[np.random.default_rng(seed).permutation(len(rows))]
    others, drawn, rest = np.split(rows, [QUERIES, QUERIES + sample])
    metric = metric_name(parts["metric"])
    return Case(
        f"{corpus.name}, {metric}", split_sample(drawn, None, metric, K, seed), rest, others,
        sample, sizes,
    )  # fmt: skip


def forecast(case: Case, code_bytes: int) -> tuple[IndexFlat, Growth]:
    """Train as the optimizer does; return the index of the sample and its recall model."""
    split, settings = case.split, TrialSettings(code_bytes)
    analysis = analyze(split.base, normalize=split.metric == "cosine")
    codec = train(settings, split, analysis)
    rows = split.base[: len(split.base) // 2]
    half = train(settings, split, analysis, rows=rows, cells=codec.cells)
    optimism = optimism_of(fill(half, settings, split), split, PARTS)
    index = fill(codec, settings, split)
    return index, measure_growth(index, split, PARTS, optimism)


def collections(case: Case) -> list[tuple[Split, Split]]:
    """Return the collection of each size, with the queries of the sample and with others."""
    split, pairs = case.split, []
    for size in case.sizes:
        base = np.concatenate([split.base, case.rest[: size - len(split.base)]])
        pairs.append(tuple(
            replace(
                split, base=base, queries=queries, _truths={},
                truth=true_neighbours(base, queries, split.metric, K),
            )
            for queries in (split.queries, case.others)
        ))  # fmt: skip
    return pairs


def measure(case: Case, pairs: Sequence[tuple[Split, Split]], code_bytes: int) -> Iterator[Line]:
    """Yield forecast and measured recall for each size."""
    index, growth = forecast(case, code_bytes)
    for same, others in pairs:
        index.add(same.base[index.ntotal :])
        size = index.ntotal
        recalls = (float(one.hits(index.search(one.queries, K)[1]).mean()) / K
                 for one in (same, others))  # fmt: skip
        yield Line(size, growth.at(size), *recalls)


def table(case: Case, seed: int, budgets: Sequence[int] | None) -> list[Line]:
    """Print the rows of a Markdown table; return their values."""
    d, pairs, lines = case.split.base.shape[1], collections(case), []
    for code_bytes in budgets or [even(d // step, d) for step in _DIMENSIONS_PER_BYTE]:
        for line in measure(case, pairs, code_bytes):
            expected = line.expected
            within = "yes" if expected.low <= line.others <= expected.high else "no"
            print(
                f"| {case.name} | {seed} | {case.sample:,} | {line.size:,} | {code_bytes} "
                f"| {expected} | {line.measured:.3f} | {line.error:+.3f} "
                f"| {line.others:.3f} | {expected.recall - line.others:+.3f} | {within} |",
                flush=True,
            )
            lines.append(line)
    return lines


def summary(lines: Sequence[Line]) -> str:
    """Summarize the errors and the coverage of the intervals."""
    errors = np.array([(one.error, one.expected.recall - one.others) for one in lines])
    held = np.mean([one.expected.low <= one.others <= one.expected.high for one in lines])
    same, others = (
        f"{each.mean():+.3f} on average, {np.sqrt(np.square(each).mean()):.3f} root mean square, "
        f"{each.min():+.3f} to {each.max():+.3f}"
        for each in errors.T
    )
    return (
        f"Errors of {len(lines)} forecasts, same queries: {same}. "
        f"Others: {others}; {held:.0%} lie in the interval."
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(description="Recall forecast from samples, and measured.")
    parser.add_argument(
        "--data", nargs="+", default=DATA, metavar="NAME:METRIC:SAMPLE:SIZE,SIZE",
        help="rows of the sample and of the collections; default: " + " ".join(DATA),
    )  # fmt: skip
    parser.add_argument("--cache", metavar="DIR", help="cache folder of bench/datasets.py")
    parser.add_argument(
        "--bytes", type=int, nargs="+", metavar="B",
        help="code bytes; default: 1 byte per 32, 16, 8 and 4 dimensions",
    )  # fmt: skip
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0], metavar="S", help="seeds of the samples"
    )
    args = parser.parse_args(arguments)
    set_threads(1)
    print("| data | seed | from | to | bytes | forecast | measured, same queries | error "
          "| measured, others | error | in the interval |")  # fmt: skip
    print("|---|--:|--:|--:|--:|---|--:|--:|--:|--:|---|")
    lines = []
    for source in args.data:
        for seed in args.seeds:
            print(f"measuring {source}, seed {seed}", file=sys.stderr, flush=True)
            lines += table(draw(source, args.cache, seed), seed, args.bytes)
    print(f"\n{summary(lines)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Does compression change the answers? nDCG@10 and MRR of labelled retrieval, exact and compressed.

``python bench/answers.py`` measures the sets of ``answer_sets.py`` and writes the tables and the
picture of ``docs/answers.md``. Results are kept in the cache folder, so that an interrupted run
goes on; ``--again`` measures anew.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import answer_sets
import datasets
import matplotlib

import waterfill as wf
from waterfill.evaluation.answer_methods import (
    BITS,
    Method,
    bits_name,
    default_methods,
    peer_methods,
    waterfill,
)
from waterfill.evaluation.answers import Answers, evaluate_answers

matplotlib.use("Agg")  # no window

from matplotlib import pyplot

PAGE = Path(__file__).resolve().parents[1] / "docs" / "answers.md"
PICTURE = PAGE.with_suffix(".png")
BEGIN, END = "<!-- answers.py: begin -->", "<!-- answers.py: end -->"
EXACT = "exact, float32"
_OURS, _PEER, _DPI = "#c1121f", "#0072b2", 130
Result = Mapping[str, Any]


def methods(d: int, training: Any) -> list[Method]:
    """Return the methods to compare; codes are also fitted to queries, if there are others."""
    fitted = [
        waterfill(round(bits * d / 8), bits_name(bits), queries=training)
        for bits in BITS[:2]
        if len(training) >= 1000
    ]
    return [*default_methods(d), *fitted, *peer_methods(d)]


def measure(labelled: answer_sets.LabelledSet, cache: Path) -> Result:
    """Measure all methods on a set."""
    data = answer_sets.vectors(labelled, cache)
    start = time.process_time()
    answers = evaluate_answers(
        data.base,
        data.queries,
        data.judgements,
        metric=labelled.metric,
        methods=methods(data.base.shape[1], data.training),
        progress=lambda name: print(f"  {name}", file=sys.stderr, flush=True),
    )
    return {
        "title": labelled.title,
        "model": labelled.model,
        "documents": len(data.base),
        "queries": len(data.judgements.queries),
        "dimensions": int(data.base.shape[1]),
        "seconds": time.process_time() - start,
        "methods": [_kept(each, answers[0]) for each in answers],
    }


def _kept(answers: Answers, exact: Answers) -> Result:
    return {
        "name": answers.name,
        "bytes": answers.bytes_per_vector,
        "row_bytes": answers.row_bytes,
        "ndcg": vars(answers.mean_ndcg),
        "difference": vars(answers.difference(exact)),
        "mrr": vars(answers.mrr),
    }


def heading(result: Result) -> str:
    """Return the title of a set, with its sizes."""
    return (
        f"{result['title']}, {_MODELS[result['model']]}: {result['queries']:,} queries, "
        f"{result['documents']:,} documents, {result['dimensions']} dimensions"
    )


_MODELS = {"minilm": "MiniLM", "mpnet": "MPNet", "wordllama": "WordLlama"}


def table(result: Result) -> Iterator[str]:
    """Yield the lines of the table of a set."""
    yield "| method | bytes | nDCG@10 | less exact (95 % interval) | MRR@10 |"
    yield "|---|---|---|---|---|"
    for each in result["methods"]:
        own = each["bytes"] - each["row_bytes"]
        rows = f" + {each['row_bytes']:g}" if each["row_bytes"] else ""
        less = "" if each["name"] == EXACT else _interval(each["difference"])
        yield (
            f"| {each['name']} | {own:.4g}{rows} | {each['ndcg']['mean']:.3f} | {less} | "
            f"{each['mrr']['mean']:.3f} |"
        )


def _interval(estimate: Mapping[str, float]) -> str:
    low, high = (f"{estimate[name]:+.3f}" for name in ("low", "high"))
    return f"{estimate['mean']:+.3f} ({low} to {high})"


def summary(results: Sequence[Result]) -> Iterator[str]:
    """Yield the lines of the table of all sets: what codes of a bit per dimension lose."""
    titles = [f"{each['title']}, {_MODELS[each['model']]}" for each in results]
    yield "| nDCG@10 less exact | " + " | ".join(titles) + " |"
    yield "|---" * (len(results) + 1) + "|"
    exact = [f"{each['methods'][0]['ndcg']['mean']:.3f}" for each in results]
    yield "| exact: nDCG@10 | " + " | ".join(exact) + " |"
    for name in _names(results):
        cells = []
        for result in results:
            found = next((m for m in result["methods"] if _generic(m, result) == name), None)
            cells.append("" if found is None else _interval(found["difference"]))
        yield f"| {name} | " + " | ".join(cells) + " |"


def _generic(method: Result, result: Result) -> str:
    """Return the name of a method that is the same for all numbers of dimensions."""
    name: str = method["name"]
    if not name.startswith("PQ"):
        return name
    bits = 8 * method["bytes"] / result["dimensions"]
    return f"PQ {bits_name(bits)}" + (", rescored" if name.endswith("rescored") else "")


def _names(results: Sequence[Result]) -> list[str]:
    names = [_generic(method, each) for each in results for method in each["methods"]]
    return [name for name in dict.fromkeys(names) if name != EXACT]


def plot(results: Sequence[Result], path: Path) -> None:
    """Draw what each method loses on each set, with its interval."""
    names = _names(results)
    figure, axes = pyplot.subplots(2, (len(results) + 1) // 2, figsize=(13, 11), sharey=True)
    for axis, result in zip(axes.flat, results, strict=False):
        by_name = {_generic(each, result): each for each in result["methods"]}
        for place, name in enumerate(names):
            if name not in by_name:
                continue
            own = by_name[name]["difference"]
            colour = _OURS if name.startswith("waterfill") else _PEER
            rescored = name.endswith("rescored")
            axis.plot([own["low"], own["high"]], [place, place], color=colour, linewidth=1.8)
            marker = {"marker": "o", "markersize": 6, "markeredgecolor": colour}
            axis.plot(own["mean"], place, **marker, color="white" if rescored else colour)
        axis.axvline(0, color="#777777", linewidth=0.8)
        exact = result["methods"][0]["ndcg"]["mean"]
        axis.set_title(
            f"{result['title']}\n{_MODELS[result['model']]}, {result['documents']:,} documents, "
            f"exact {exact:.3f}",
            fontsize=9,
        )
        axis.grid(axis="x", color="#dddddd", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes.flat[len(results) :]:
        axis.set_visible(False)
    for axis in axes[:, 0]:
        axis.set_yticks(range(len(names)), names, fontsize=8)
        axis.set_ylim(len(names) - 0.4, -0.6)
    figure.supxlabel(
        "nDCG@10 less that of exact search, 95 % interval; hollow: rows re-rank the best 40",
        fontsize=9,
    )
    figure.tight_layout()
    figure.savefig(path, dpi=_DPI)
    pyplot.close(figure)


def write(results: Sequence[Result], page: Path, picture: Path) -> None:
    """Replace the generated part of the page, and the picture."""
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no lines '{BEGIN}' and '{END}' for the tables")
    lines = [BEGIN, "", f"![nDCG@10 less exact, by method and set]({picture.name})", ""]
    lines += [*summary(results), ""]
    for result in results:
        lines += ["<details>", f"<summary>{heading(result)}</summary>", ""]
        lines += [*table(result), "", "</details>", ""]
    page.write_text(before + "\n".join([*lines, END]) + after, encoding="utf-8")
    plot(results, picture)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the sets that are named, or all, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = [each.name for each in answer_sets.SETS]
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"of {', '.join(names)}")
    parser.add_argument("--cache", metavar="DIR", help="cache folder of bench/datasets.py")
    parser.add_argument("--again", action="store_true", help="measure what has been measured")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page to write")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(arguments)
    wf.set_num_threads(args.threads)
    unknown = set(args.sets) - set(names)
    if unknown:
        parser.error(f"unknown set {', '.join(unknown)}; sets are {', '.join(names)}")
    cache = datasets.cache_root(args.cache)
    results = []
    for labelled in answer_sets.SETS:
        path = cache / "answers" / f"{labelled.name}.json"
        measured = not args.sets or labelled.name in args.sets
        if measured and (args.again or not path.exists()):
            print(labelled.name, file=sys.stderr, flush=True)
            result = measure(labelled, cache)
            path.write_text(json.dumps(result, indent=1), encoding="utf-8")
        if path.exists():
            results.append(json.loads(path.read_text(encoding="utf-8")))
    write(results, args.page, args.page.with_suffix(".png"))


if __name__ == "__main__":
    main()

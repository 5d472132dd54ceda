"""The command that finds what a service can do: ramp."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import waterfill as wf
from waterfill._util.optional import require
from waterfill._util.validation import as_positive_int
from waterfill.cli.errors import BAD_DATA, INTERRUPTED, UsageError, say
from waterfill.cli.inputs import check_output, read_queries
from waterfill.cli.options import Queries, QueriesKey
from waterfill.cli.output import Output
from waterfill.loadtest.capacity_test import (
    RATES,
    CapacityTest,
    final_report,
    make_driver,
    read_settings,
)
from waterfill.loadtest.http_target import NotAllowedError, Url
from waterfill.loadtest.report import CapacityError
from waterfill.loadtest.table import line_of

_MOST_QUERIES = 10_000  # that are kept in memory, and asked in turn


def _option(option: str, metavar: str, words: str) -> Any:
    return typer.Option(option, metavar=metavar, help=words, show_default=False)


def _number(option: str, metavar: str, words: str) -> Any:
    return typer.Option(option, metavar=metavar, help=words)


def ramp(
    out: Output,
    index: Annotated[
        Path | None, _option("--index", "INDEX", "Search this index, in this process.")
    ] = None,
    queries: Queries = None,
    queries_key: QueriesKey = None,
    k: Annotated[int, typer.Option("-k", help="Neighbours of a query.")] = 10,
    url: Annotated[
        str | None, _option("--url", "URL", "Ask this service, on this machine: GET, or POST.")
    ] = None,
    body: Annotated[
        Path | None, _option("--body", "FILE", "What to POST, JSON unless a header says more.")
    ] = None,
    header: Annotated[
        list[str] | None, _option("--header", "'NAME: VALUE'", "Of each request; may be repeated.")
    ] = None,
    timeout: Annotated[
        float, _number("--timeout", "SECONDS", "After which a request of --url has failed.")
    ] = 30.0,
    i_own_this_host: Annotated[
        bool,
        typer.Option(
            "--i-own-this-host", help="--url may be another machine, which is yours to overload."
        ),
    ] = False,
    rates: Annotated[
        str, _number("--rates", "N,N,...", "Requests a second to begin with, rising.")
    ] = ",".join(map(str, RATES)),
    step_seconds: Annotated[
        float, _number("--step-seconds", "S", "Of a rate; up to 16 times as long where it is near.")
    ] = 10.0,
    p99: Annotated[
        float, _number("--p99", "SECONDS", "Within which 99 of 100 answers must come.")
    ] = 0.2,
    errors: Annotated[
        float, _number("--errors", "SHARE", "Of requests that may fail or be refused.")
    ] = 0.01,
    max_seconds: Annotated[float, _number("--max-seconds", "S", "Of the whole test.")] = 1200.0,
    max_requests: Annotated[int, _number("--max-requests", "N", "Of the whole test.")] = 1_000_000,
    most_rate: Annotated[
        float, _number("--most-rate", "N", "Requests a second, and not more.")
    ] = 10_000.0,
    most_in_flight: Annotated[
        int, _number("--most-in-flight", "N", "Requests without an answer, and not more.")
    ] = 512,
    seed: Annotated[int, typer.Option("--seed", help="Of the times of requests.")] = 0,
    report: Annotated[
        Path | None, _option("--out", "JSON", "Write the report, for Limiter.from_report.")
    ] = None,
    picture: Annotated[
        Path | None, _option("--picture", "PNG", "Draw p99 and answers by rate (.png .svg .pdf).")
    ] = None,
) -> int:
    """Find how many requests a second are answered in time, and how many at once.

    Requests come at random times, whether or not earlier ones have an answer, so that the service
    is overloaded for some seconds. A test takes some minutes. Ctrl-C ends it early: what is known
    by then is shown and written. Without --queries an index is asked for its own vectors, decoded,
    which is as much work as other queries are in a flat index, and somewhat less in lists.

    Example:
      waterfill ramp --index base.wf --queries query.npy --p99 0.05 --out capacity.json
      waterfill ramp --url http://localhost:8000/search --body query.json --picture curve.png
    """
    settings = _settings(
        rates=rates,
        step_seconds=step_seconds,
        slo=wf.loadtest.Slo(p99, errors),
        max_seconds=max_seconds,
        max_requests=max_requests,
        max_rate=most_rate,
        max_in_flight=most_in_flight,
        seed=seed,
    )
    for option, path in (("--out", report), ("--picture", picture)):
        if path is not None:
            check_output(path, (index, queries, body), option)
    if picture is not None:
        require("matplotlib", "--picture", "plot")
    target: Any
    if (index is None) == (url is None):
        raise UsageError("give one of --index INDEX and --url URL, what to ask")
    if url is not None:
        _require_none("--url", queries=queries, queries_key=queries_key)
        target = _url(url, body, header or [], timeout, i_own_this_host)
    else:
        assert index is not None
        _require_none("--index", body=body, header=header)
        target = _searches(index, queries, queries_key, k, seed)
    return _run(out, target, settings, report, picture)


def _run(out: Output, target: Any, settings: Any, path: Path | None, picture: Path | None) -> int:
    code = 0
    with out.narrated("ramping") as tell:
        test = CapacityTest(settings, lambda step: tell(line_of(step)))
        driver = make_driver(target)
        try:
            test.run(driver)
        except NotAllowedError as error:
            raise UsageError(f"{error} (--i-own-this-host)") from None
        except KeyboardInterrupt:
            if test.report() is None:
                raise
            test.findings.notes.append("interrupted")
            test.findings.complete = False
            code = INTERRUPTED
        except CapacityError as error:
            say(str(error))
            code = BAD_DATA
        finally:
            driver.close()
    if code == BAD_DATA and test.report() is None:
        return code
    try:
        found = final_report(test)
    except CapacityError as error:
        say(str(error))
        return BAD_DATA
    if path is not None:
        found.save(path)
    if picture is not None:
        found.plot(picture)
    out.show(found.to_dict(), str(found))
    return code


def _settings(*, rates: str, **more: Any) -> Any:
    try:
        given = [float(rate) for rate in rates.split(",")]
    except ValueError:
        raise UsageError(f"--rates={rates} must be numbers with commas between them") from None
    return read_settings(rates=given, tolerance=None, **more)


def _require_none(option: str, **others: Any) -> None:
    for name, value in others.items():
        if value:
            raise UsageError(f"--{name.replace('_', '-')} does not go together with {option}")


def _searches(
    path: Path, queries: Path | None, key: str | None, k: int, seed: int
) -> Callable[[], object]:
    """Return a search of an index, one query after the other, in a random order."""
    index = wf.read_index(path)
    as_positive_int("k", k)
    asked = read_queries(queries, key, index.d)
    rng = np.random.default_rng(seed)
    if asked is not None:
        rows = asked.take(np.sort(_some(rng, asked.n))).astype(np.float32)
    elif index.ntotal:
        rows = np.concatenate(
            [index.reconstruct_n(int(row), 1) for row in _some(rng, index.ntotal, 1000)]
        )
    else:
        raise UsageError(f"{path} holds no vectors to ask for; give --queries FILE")
    rng.shuffle(rows)
    turn = itertools.count()
    return lambda: index.search(rows[next(turn) % len(rows)][None], k)


def _some(rng: np.random.Generator, n: int, most: int = _MOST_QUERIES) -> np.ndarray[Any, Any]:
    """Return numbers of some rows."""
    return rng.choice(n, size=min(n, most), replace=False).astype(np.int64)


def _url(url: str, body: Path | None, header: list[str], timeout: float, own: bool) -> Url:
    headers = {}
    for line in header:
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise UsageError(f"--header {line!r} must be 'NAME: VALUE'")
        headers[name.strip()] = value.strip()
    content = None if body is None else body.read_bytes()
    return Url(url, content, headers, timeout, own)

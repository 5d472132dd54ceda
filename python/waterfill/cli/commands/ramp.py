"""The command ``waterfill ramp``: the capacity of an index or a service, by rising load."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

import waterfill as wf
from waterfill._util.input_file import read_input
from waterfill._util.optional import require
from waterfill._util.validation import as_positive_int
from waterfill.cli.errors import BAD_DATA, INTERRUPTED, UsageError, print_line
from waterfill.cli.folders import read_index
from waterfill.cli.inputs import check_output, open_queries
from waterfill.cli.options import Queries, QueriesFormat, QueriesKey
from waterfill.cli.output import Output
from waterfill.loadtest.capacity import (
    RATES,
    CapacityTest,
    final_report,
    make_driver,
    read_settings,
)
from waterfill.loadtest.http_target import NotAllowedError, Url
from waterfill.loadtest.report import CapacityError
from waterfill.loadtest.table import line_of

_RATES = ",".join(map(str, RATES))
_PICTURES = (".png", ".svg", ".pdf")
_MAX_QUERIES = 10_000  # to keep in memory and search for in turn
_MAX_DECODED = 1_000  # stored vectors that stand for queries


def _option(option: str, metavar: str, help_: str) -> Any:
    return typer.Option(option, metavar=metavar, help=help_, show_default=False)


def _number(option: str, metavar: str, help_: str) -> Any:
    return typer.Option(option, metavar=metavar, help=help_)


def ramp(
    out: Output,
    index: Annotated[
        Path | None, _option("--index", "INDEX", "Search this index, in this process.")
    ] = None,
    queries: Queries = None,
    queries_key: QueriesKey = None,
    queries_format: QueriesFormat = None,
    k: Annotated[int, typer.Option("-k", help="Neighbours per query.")] = 10,
    url: Annotated[
        str | None, _option("--url", "URL", "Request this URL, on this machine.")
    ] = None,
    body: Annotated[
        Path | None,
        _option(
            "--body", "FILE", "Body to POST, JSON unless a header says otherwise (default: GET)."
        ),
    ] = None,
    header: Annotated[
        list[str] | None,
        _option("--header", "'NAME: VALUE'", "Header of each request; may be repeated."),
    ] = None,
    timeout: Annotated[
        float, _number("--timeout", "SECONDS", "Time after which a request to --url fails.")
    ] = 30.0,
    i_own_this_host: Annotated[
        bool,
        typer.Option(
            "--i-own-this-host", help="Allow --url on another machine that is yours to overload."
        ),
    ] = False,
    rates: Annotated[
        str,
        _option(
            "--rates",
            "N,N,...",
            f"Rates to start with, in requests per second, rising (default: {_RATES}).",
        ),
    ] = _RATES,
    step_seconds: Annotated[
        float,
        _number(
            "--step-seconds", "S", "Duration of each rate; up to 16 times as long near the limit."
        ),
    ] = 10.0,
    p99: Annotated[
        float, _number("--p99", "SECONDS", "Latency objective: the 99th percentile.")
    ] = 0.2,
    errors: Annotated[
        float, _number("--errors", "SHARE", "Acceptable share of failed or refused requests.")
    ] = 0.01,
    max_seconds: Annotated[
        float, _number("--max-seconds", "S", "Maximum duration of the test.")
    ] = 1200.0,
    max_requests: Annotated[
        int, _number("--max-requests", "N", "Maximum number of requests of the test.")
    ] = 1_000_000,
    max_rate: Annotated[
        float, _number("--max-rate", "N", "Maximum requests per second.")
    ] = 10_000.0,
    max_in_flight: Annotated[
        int, _number("--max-in-flight", "N", "Maximum number of unanswered requests.")
    ] = 512,
    seed: Annotated[int, typer.Option("--seed", help="Random seed of the arrival times.")] = 0,
    report: Annotated[
        Path | None, _option("--out", "JSON", "Write the report, for Limiter.from_report.")
    ] = None,
    picture: Annotated[
        Path | None, _option("--picture", "PNG", "Plot p99 and responses by rate (.png .svg .pdf).")
    ] = None,
) -> int:
    """Measure the capacity of an index or a service.

    The result is the highest rate and concurrency that meet --p99 and --errors.

    Requests arrive at random times, whether or not earlier ones are answered,
    so the service is overloaded for some seconds. A test takes some minutes.
    Ctrl-C ends it early; the results so far are shown and written. Without
    --queries an index is searched for its own decoded vectors. That is as much
    work as other queries in a flat index, and somewhat less with inverted
    lists.

    Example:
      waterfill ramp --index base.wf --p99 0.05 --out capacity.json
      waterfill ramp --url http://localhost:8000/search --body query.json
    """
    settings = _settings(
        rates=rates,
        step_seconds=step_seconds,
        slo=wf.loadtest.Slo(p99, errors),
        max_seconds=max_seconds,
        max_requests=max_requests,
        max_rate=max_rate,
        max_in_flight=max_in_flight,
        seed=seed,
    )
    for option, path in (("--out", report), ("--picture", picture)):
        if path is not None:
            check_output(path, (index, queries, body), option)
    if picture is not None:
        require("matplotlib", "--picture", "plot")
        if picture.suffix.lower() not in _PICTURES:
            raise UsageError(
                f"--picture {picture}: expected a name ending in {' '.join(_PICTURES)}"
            )
    target: Any
    if (index is None) == (url is None):
        raise UsageError("give one of --index INDEX and --url URL")
    if url is not None:
        _require_none(
            "--url", queries=queries, queries_key=queries_key, queries_format=queries_format
        )
        target = _url(url, body, header or [], timeout, i_own_this_host)
    else:
        assert index is not None
        _require_none("--index", body=body, header=header)
        target = _searcher(index, queries, (queries_key, queries_format), k, seed)
    return _run(out, target, settings, report, picture)


def _run(out: Output, target: Any, settings: Any, path: Path | None, picture: Path | None) -> int:
    """Run the test, write its report and its plot, and return the exit code."""
    code = 0
    with out.trace("ramping") as write:
        test = CapacityTest(settings, lambda step: write(line_of(step)))
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
            print_line(str(error))
            code = BAD_DATA
        finally:
            driver.close()
    if code == BAD_DATA and test.report() is None:
        return code
    try:
        found = final_report(test)
    except CapacityError as error:
        print_line(str(error))
        return BAD_DATA
    if path is not None:
        found.save(path)
    if picture is not None:
        found.plot(picture)
    out.show(found.to_dict(), str(found))
    return code


def _settings(*, rates: str, **more: Any) -> Any:
    try:
        values = [float(rate) for rate in rates.split(",")]
    except ValueError:
        raise UsageError(f"--rates={rates} must be numbers separated by commas") from None
    return read_settings(rates=values, tolerance=None, **more)


def _require_none(option: str, **others: Any) -> None:
    for name, value in others.items():
        if value:
            raise UsageError(f"--{name.replace('_', '-')} cannot be combined with {option}")


def _searcher(
    path: Path,
    queries: Path | None,
    source: tuple[str | None, str | None],
    k: int,
    seed: int,
) -> Callable[[], object]:
    """Return a function that searches for one query after the other, in random order."""
    index = read_index(path)
    as_positive_int("k", k)
    query_rows = open_queries(queries, source[0], index.d, source[1])
    rng = np.random.default_rng(seed)
    if query_rows is not None:
        numbers = _draw(rng, query_rows.n, _MAX_QUERIES)
        rows = query_rows.take(np.sort(numbers)).astype(np.float32)
    elif index.ntotal:
        numbers = _draw(rng, index.ntotal, _MAX_DECODED)
        rows = np.concatenate([index.reconstruct_n(int(row), 1) for row in numbers])
    else:
        raise UsageError(f"{path} is empty; give --queries FILE")
    rng.shuffle(rows)
    turn = itertools.count()
    return lambda: index.search(rows[next(turn) % len(rows)][None], k)


def _draw(rng: np.random.Generator, n: int, most: int) -> NDArray[np.int64]:
    """Draw at most `most` row numbers below `n`."""
    return rng.choice(n, size=min(n, most), replace=False).astype(np.int64)


def _url(url: str, body: Path | None, header: list[str], timeout: float, own: bool) -> Url:
    """Return the requests to send to a service."""
    headers = {}
    for line in header:
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise UsageError(f"--header: expected 'NAME: VALUE', got {line!r}")
        headers[name.strip()] = value.strip()
    content = None if body is None else read_input(body)
    return Url(url, content, headers, timeout, own)

"""Results to report, and a browser that opens the page."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.measured_results import measure

import waterfill as wf
from waterfill.evaluation.faiss_peers import measure_peers
from waterfill.optimizer.trial import TrialSettings

_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
_PATIENCE = 120  # seconds, far more than a busy machine needs


@pytest.fixture(scope="session")
def result(base_64, queries_64):
    """Four sizes of the sample, the second chosen; two of its dimensions are constant."""
    x = base_64.copy()
    x[:, [5, 40]] = 0
    return measure(x, queries_64, [TrialSettings(size) for size in (6, 12, 16, 24)], best=1)


@pytest.fixture(scope="session")
def peers(result):
    split = result.split
    wf.set_num_threads(1)
    return measure_peers(split.base, split.queries, split.truth, metric="ip", k=10, sizes=[12])


@pytest.fixture(scope="session")
def edge_cases(base_64, queries_64) -> dict[str, Any]:
    """Measured results of edge cases."""
    rng = np.random.default_rng(3)
    flat = rng.standard_normal((600, 2)).astype(np.float32)
    narrow = np.ascontiguousarray(base_64[:1500, :32])
    queries = np.ascontiguousarray(queries_64[:40, :32])
    dirty = narrow.copy()
    dirty[:40, 3] = np.nan
    dirty[100:150] = dirty[100]
    dirty[:, 5] = 1
    dirty[200:300] = 0
    six = [TrialSettings(6)]
    one = measure(narrow, queries, six)
    slow = replace(one.best, queries_per_second=float("nan"), encode_rate=float("nan"))
    return {
        "one trial, one size": measure(narrow, queries, six, sizes=[1]),
        "classic": measure(narrow, queries, [TrialSettings(4, "classic", dimensions=(4, 12))]),
        "two dimensions": measure(
            flat, flat[:20], [TrialSettings(1), TrialSettings(2)], metric="l2", k=1
        ),
        "more bytes than bits help": measure(narrow, queries, [TrialSettings(32)]),
        "cells": measure(narrow, queries, six, cells=16),
        "l2": measure(narrow, queries, six, metric="l2"),
        "cosine": measure(narrow, queries, six, metric="cosine"),
        "no speed": replace(one, trials=(slow,), best=slow),
        "findings": measure(dirty, queries, six),
        "stopped": measure(narrow, queries, six, complete=False),
        "few rows": measure(narrow[:20], queries[:3], [TrialSettings(2)], k=3),
        "markup": replace(one, reason="<script>alert(1)</script> & $$answer $title"),
    }


class Browser:
    """A page in Chromium."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, path: Path, *, width: int = 1200, dark: bool = False) -> None:
        """Load the page and wait for its charts."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._do("Emulation.setEmulatedMedia", features=[scheme])
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        self._do("Emulation.setDeviceMetricsOverride", **size)
        for log in ("browser", "performance"):
            self.driver.get_log(log)  # discards earlier entries
        self.driver.get(path.as_uri())
        self.wait(lambda: self.run("document.documentElement.dataset.charts") == "drawn")

    def run(self, expression: str, *arguments: Any) -> Any:
        """Evaluate JavaScript."""
        return self.driver.execute_script(f"return {expression}", *arguments)

    def wait(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds."""
        end = time.monotonic() + _PATIENCE
        while not condition():
            assert time.monotonic() < end, f"the condition did not hold within {_PATIENCE} s"
            time.sleep(0.05)

    def console_messages(self) -> list[str]:
        """Return the console messages since the page was opened."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Return the URLs requested since the page was opened."""
        events = [
            json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")
        ]
        return [
            event["params"]["request"]["url"]
            for event in events
            if event["method"] == "Network.requestWillBeSent"
        ]

    def _do(self, command: str, **parameters: Any) -> None:
        self.driver.execute_cdp_cmd(command, parameters)


def _missing(what: str) -> None:
    if os.environ.get("WATERFILL_REQUIRE_BROWSER") == "1":
        pytest.fail(f"WATERFILL_REQUIRE_BROWSER=1, but there is no {what}")
    pytest.skip(f"there is no {what}")


@pytest.fixture(scope="session")
def browser(tmp_path_factory) -> Iterator[Browser]:
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next((path for path in map(shutil.which, names) if path), None)
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        _missing("chromium with chromedriver")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in (*_FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # A sanitizer preloaded into Python must not be loaded into the browser.
    clean = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    chrome = webdriver.Chrome(options=options, service=Service(driver, env=clean))
    yield Browser(chrome)
    chrome.quit()


@pytest.fixture(scope="session")
def page(result, peers, tmp_path_factory) -> Path:
    """The report of `result`."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    return wf.report(result, path, peers=peers, n=2_000_000, price_per_gb=4.5)


@pytest.fixture(scope="session")
def edge_case_pages(edge_cases, tmp_path_factory) -> dict[str, Path]:
    """The reports of the edge cases."""
    directory = tmp_path_factory.mktemp("edge_cases")
    return {
        name: wf.report(result, directory / f"{i}.html", peers=False)
        for i, (name, result) in enumerate(edge_cases.items())
    }

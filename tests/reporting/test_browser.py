"""The page in a browser: charts, contrast, layout, structure and keyboard access."""

from __future__ import annotations

import itertools

import pytest

CHARTS = {"recall": 15, "growth": 10, "spectrum": 60, "bits": 60, "distortion": 2}  # marks
SCHEMES = pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])

_CONTRASTS = """(() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => [r, g, b]
    .map((c) => c / 255)
    .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = rgb(getComputedStyle(e).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!own || !element.getClientRects().length || element.closest("script, noscript")) continue;
    const style = getComputedStyle(element);
    const svg = element.namespaceURI.endsWith("svg");
    const [a, b] = [light(rgb(svg ? style.fill : style.color)), light(behind(element))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) found.push(`${element.tagName} ${element.textContent} ${contrast}`);
  }
  return found;
})()"""


@pytest.fixture
def keys():
    from selenium.webdriver.common.keys import Keys

    return Keys


@SCHEMES
def test_charts_are_drawn_without_console_messages_or_requests(browser, page, dark):
    browser.open(page, dark=dark)
    for chart, least in CHARTS.items():
        marks = browser.run(
            "document.querySelectorAll(`#chart-${arguments[0]} svg .role-mark path`).length", chart
        )
        assert marks >= least, chart
    assert browser.console_messages() == []
    assert [url for url in browser.requests() if not url.startswith(("file:", "data:"))] == []


@SCHEMES
def test_text_has_enough_contrast(browser, page, dark):
    browser.open(page, dark=dark)
    assert browser.run(_CONTRASTS) == []


def test_light_and_dark_differ(browser, page):
    colours = set()
    for dark in (False, True):
        browser.open(page, dark=dark)
        colours.add(browser.run("getComputedStyle(document.body).backgroundColor"))
        colours.add(browser.run("getComputedStyle(document.querySelector('svg text')).fill"))
    assert len(colours) == 4


def test_page_fits_the_width_of_a_phone(browser, page):
    browser.open(page, width=390)
    browser.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert browser.run("document.documentElement.scrollWidth") <= 390
    widths = browser.run("[...document.querySelectorAll('.chart svg')].map((s) => s.clientWidth)")
    assert len(widths) == len(CHARTS)
    assert all(250 <= width <= 390 for width in widths)


@pytest.mark.parametrize("width", [390, 500, 600, 1000])
def test_legends_fit_their_charts(browser, page, width):
    browser.open(page, width=width)
    beyond = browser.run("""[...document.querySelectorAll(".chart svg")].map((svg) => {
      const [own, all] = [svg, ...svg.querySelectorAll(".role-legend")]
        .map((element) => element.getBoundingClientRect());
      return all ? [own.top - all.top, all.right - own.right] : [0, 0];
    })""")
    assert len(beyond) == len(CHARTS)
    assert max(itertools.chain(*beyond)) <= 1


def test_charts_resize_with_the_window(browser, page):
    browser.open(page, width=1200)
    width = "document.querySelector('#chart-recall svg').clientWidth"
    before = browser.run(width)
    browser._do(
        "Emulation.setDeviceMetricsOverride",
        **{"width": 700, "height": 900, "deviceScaleFactor": 1, "mobile": False},
    )
    browser.wait(lambda: browser.run(width) < min(before, 701))


def test_structure(browser, page):
    browser.open(page)
    assert browser.run("document.documentElement.lang") == "en"
    assert "64 dimensions" in browser.run("document.title")
    levels = browser.run("[...document.querySelectorAll('h1,h2,h3,h4')].map((h) => +h.tagName[1])")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in itertools.pairwise(levels))
    ids = browser.run("[...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids))
    for mark in ("main", "nav", "header", "footer"):
        assert browser.run("document.querySelectorAll(arguments[0]).length", mark) == 1
    targets = browser.run(
        "[...document.querySelectorAll('a, section, [aria-labelledby]')].map((e) => "
        "e.getAttribute('aria-labelledby') || e.hash?.slice(1))"
    )
    assert set(targets) <= set(ids)


def test_every_chart_has_a_caption_and_a_table(browser, page):
    browser.open(page)
    for chart in CHARTS:
        label = browser.run(
            "document.getElementById(`chart-${arguments[0]}`).getAttribute('aria-label')", chart
        )
        figure = f"document.getElementById('chart-{chart}').closest('figure')"
        caption = browser.run(f"{figure}.querySelector('figcaption').textContent")
        assert label == caption
        assert browser.run(f"document.querySelector('#chart-{chart}[role] > svg') !== null")
        assert len(caption) > 60
        rows = browser.run(
            f"{figure}.closest('section').querySelectorAll('details tbody tr').length"
        )
        assert rows >= 3, chart
    headers = "document.querySelectorAll('table').length"
    assert browser.run(headers) == browser.run("document.querySelectorAll('table caption').length")


def test_all_controls_are_reached_by_keyboard(browser, page, keys):
    browser.open(page)
    reached = []
    for _ in range(60):
        browser.driver.switch_to.active_element.send_keys(keys.TAB)
        reached.append(browser.run("document.activeElement"))
        if browser.run("document.activeElement === document.body"):
            break
    controls = browser.driver.find_elements(
        "css selector", "a, summary, input:checked, body > main > section > .scroll, pre"
    )
    visible = [element for element in controls if element.is_displayed()]
    assert [element for element in visible if element not in reached] == []


def test_tables_open_by_keyboard(browser, page, keys):
    browser.open(page)
    summary = browser.driver.find_element("css selector", "summary")
    summary.send_keys(keys.ENTER)
    table = browser.driver.find_element("css selector", "details table")
    browser.wait(table.is_displayed)
    summary.send_keys(keys.TAB)
    assert browser.run("document.activeElement.getAttribute('role')") == "region"


def test_axis_is_switched_by_keyboard(browser, page, keys):
    browser.open(page)
    labels = (
        "[...document.querySelectorAll('#chart-recall .role-axis-label text')]"
        ".map((t) => t.textContent).join()"
    )
    before = browser.run(labels)
    checked = browser.driver.find_element("css selector", ".switch input:checked")
    checked.send_keys(keys.ARROW_RIGHT)
    browser.wait(
        lambda: browser.run("document.getElementById('chart-recall').dataset.drawn") == "2"
    )
    assert browser.run(labels) != before
    assert browser.run("document.querySelectorAll('#chart-recall svg').length") == 1
    assert browser.console_messages() == []


def test_point_has_a_tooltip(browser, page, peers):
    from selenium.webdriver.common.action_chains import ActionChains

    browser.open(page)
    point = browser.driver.find_element("css selector", "#chart-recall .mark-symbol.role-mark path")
    browser.run("arguments[0].scrollIntoView({block: 'center'})", point)
    ActionChains(browser.driver).move_to_element(point).perform()
    tip = "document.querySelector('#vg-tooltip-element.visible')?.textContent ?? ''"
    browser.wait(lambda: "queries per second" in browser.run(tip))


def test_edge_cases_are_drawn(browser, edge_case_pages):
    for name, path in edge_case_pages.items():
        browser.open(path, width=390)
        assert browser.console_messages() == [], name
        drawn = browser.run("document.querySelectorAll('.chart[data-drawn] svg').length")
        assert drawn == len(CHARTS), name
        assert browser.run("document.documentElement.scrollWidth") <= 390, name

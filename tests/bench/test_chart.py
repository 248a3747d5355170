from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence

import pytest

from tests.bench.reports import TIME, report, result
from tierfs.bench.framework.chart import PLOT, draw, nice_ticks
from tierfs.bench.framework.report import Report

SVG = "{http://www.w3.org/2000/svg}"


def parsed(reports: Sequence[Report]) -> ET.Element:
    return ET.fromstring(draw(reports))  # noqa: S314 - written by us a moment ago


def texts(root: ET.Element) -> list[str]:
    return [element.text or "" for element in root.iter(f"{SVG}text")]


def bars(root: ET.Element) -> list[float]:
    """The widths of the bars; the legend's squares and the background are no bars."""
    found = root.iter(f"{SVG}rect")
    return [float(bar.attrib["width"]) for bar in found if "fill-opacity" in bar.attrib]


MADE = report(
    result("native", 100, 200, 300),
    result("tierfs", 50, 100, 90),
    result("native", 4, 4, 4, figure=TIME),
    result("tierfs", 8, 8, 8, figure=TIME),
)


def test_a_chart_is_an_svg_file_with_every_name_and_value() -> None:
    root = parsed([MADE])
    assert root.tag == f"{SVG}svg"
    shown = texts(root)
    assert {"A title", "epoch: first epoch", "epoch: time", "native", "tierfs"} <= set(shown)
    assert {"files/s, more is better", "ms, less is better"} <= set(shown)
    assert any(text.startswith("90 ") and "0.50" in text for text in shown)


def test_bars_are_as_long_as_the_medians() -> None:
    native, tierfs, quick, slow = bars(parsed([MADE]))
    assert native / tierfs == pytest.approx(200 / 90, rel=0.01)
    assert slow / quick == pytest.approx(2, rel=0.01)
    assert max(native, slow) <= PLOT


def test_whiskers_span_the_samples() -> None:
    lines = list(parsed([MADE]).iter(f"{SVG}line"))
    spans = [
        float(line.attrib["x2"]) - float(line.attrib["x1"])
        for line in lines
        if line.attrib["class"] == "whisker"
    ]
    # Of each bar the span and its two ends; native's values are 100 to 300, tierfs's 50 to 100.
    assert spans[0] / spans[3] == pytest.approx(200 / 50, rel=0.02)


def test_names_are_no_markup() -> None:
    name = "<script>&\x01"
    assert "<script>&?" in texts(parsed([report(result(name, 1, 2, 3))]))


def test_long_names_are_cut() -> None:
    labels = texts(parsed([report(result("a" * 60, 1))]))
    assert "a" * 13 + "…" in labels


def test_several_reports_are_one_chart_in_the_same_colours() -> None:
    root = parsed([MADE, MADE])
    assert texts(root).count("A title") == 2
    drawn = [bar.attrib for bar in root.iter(f"{SVG}rect") if "fill-opacity" in bar.attrib]
    colours = [attributes["fill"] for attributes in drawn]
    native, tierfs = colours[0::2], colours[1::2]
    assert len(set(native)) == len(set(tierfs)) == 1
    assert native[0] != tierfs[0]


@pytest.mark.parametrize("samples", [(0.0,), (0.0, 1e-9), (1e15,)])
def test_odd_values_can_be_drawn(samples: tuple[float, ...]) -> None:
    assert parsed([report(result("native", *samples))]).tag == f"{SVG}svg"


def test_no_results_are_no_failure() -> None:
    assert parsed([report()]).tag == f"{SVG}svg"


@pytest.mark.parametrize(
    ("highest", "ticks"),
    [
        (40, [0, 10, 20, 30, 40]),
        (95, [0, 50, 100]),
        (0.4, [0, 0.1, 0.2, 0.3, 0.4]),
        (0, [0, 1]),
        (7, [0, 2, 4, 6, 8]),
    ],
)
def test_ticks_are_round_numbers(highest: float, ticks: list[float]) -> None:
    assert nice_ticks(highest) == pytest.approx(ticks)

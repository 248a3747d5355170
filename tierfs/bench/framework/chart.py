"""A report as a picture: an SVG 1.1 file with a panel of horizontal bars for each figure."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from tierfs.bench.framework.report import Report, format_value
from tierfs.bench.framework.result import Result
from tierfs.bench.framework.scenario import Better

COLOURS: Final = ("#4d4d4d", "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
"""A grey, then the palette of Okabe and Ito, which colour-blind people can tell apart."""

PANELS_A_ROW: Final = 2
PANEL: Final = 520
"""Pixels across a panel, its names and values included."""
NAMES: Final = 110
LONGEST_NAME: Final = 14
"""Characters that fit in there."""
VALUES: Final = 130
PLOT: Final = PANEL - NAMES - VALUES - 20
BAR: Final = 16
PITCH: Final = 24
HEAD: Final = 34
FOOT: Final = 36
MARGIN: Final = 20
TICKS: Final = 4

STYLE: Final = (
    "text{font:12px sans-serif;fill:#222}.title{font-size:18px;font-weight:bold}"
    ".figure{font-weight:bold}.small{font-size:10px;fill:#666}"
    ".axis{stroke:#999}.grid{stroke:#ddd}.whisker{stroke:#111;stroke-width:1.5}"
)


@dataclass(frozen=True, slots=True)
class Picture:
    """Some SVG elements and how high they are, in pixels."""

    elements: tuple[str, ...]
    height: float


def draw(reports: Sequence[Report]) -> str:
    """One SVG document: the reports below one another, sides in the same colours throughout."""
    colours = _colours(reports)
    parts = [_legend(colours), *(_section(report, colours) for report in reports)]
    body, height = [], float(MARGIN)
    for part in parts:
        body.append(_moved(part.elements, MARGIN, height))
        height += part.height
    width = MARGIN * 2 + PANEL * PANELS_A_ROW
    size = f'width="{width}" height="{height:g}" viewBox="0 0 {width} {height:g}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size}>',
            f"<style>{STYLE}</style>",
            '<rect width="100%" height="100%" fill="#fff"/>',
            *body,
            "</svg>\n",
        ]
    )


def nice_ticks(highest: float) -> list[float]:
    """From 0 to at least ``highest``, in a few steps of 1, 2 or 5 times a power of ten."""
    if not highest > 0 or not math.isfinite(highest):
        return [0.0, 1.0]
    rough = highest / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    return [step * number for number in range(math.ceil(highest / step * 0.999) + 1)]


def _colours(reports: Iterable[Report]) -> dict[str, str]:
    bases = [report.baseline for report in reports]
    names = dict.fromkeys(
        [*bases, *(result.side for report in reports for result in report.results)]
    )
    return {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(names)}


def _legend(colours: dict[str, str]) -> Picture:
    drawn, x = [], 0
    for name, colour in colours.items():
        drawn.append(f'<rect x="{x}" y="0" width="12" height="12" fill="{colour}"/>')
        drawn.append(_text(x + 18, 11, name))
        x += 40 + 8 * len(name)
    drawn.append(_text(x, 11, "bar: median; line: lowest to highest", "small"))
    return Picture(tuple(drawn), 30)


def _section(report: Report, colours: dict[str, str]) -> Picture:
    drawn = [_text(0, 18, report.title, "title"), _text(0, 36, report.where, "small")]
    y = 50.0
    panels = [_panel(report, group, colours) for group in _by_figure(report)]
    for start in range(0, len(panels), PANELS_A_ROW):
        row = panels[start : start + PANELS_A_ROW]
        drawn += [_moved(panel.elements, PANEL * x, y) for x, panel in enumerate(row)]
        y += max(panel.height for panel in row)
    return Picture(tuple(drawn), y + MARGIN)


def _by_figure(report: Report) -> list[list[Result]]:
    groups = groupby(report.results, key=lambda result: (result.scenario, result.figure.name))
    return [list(group) for _, group in groups]


def _panel(report: Report, results: Sequence[Result], colours: dict[str, str]) -> Picture:
    figure = results[0].figure
    scale = nice_ticks(max(result.summary.high for result in results))
    direction = "more is better" if figure.better is Better.MORE else "less is better"
    drawn = [_text(0, 14, f"{results[0].scenario}: {figure.name}", "figure")]
    bottom = HEAD + PITCH * len(results)
    drawn += _axis(scale, bottom)
    drawn.append(
        _text(NAMES + PLOT / 2, bottom + 28, f"{figure.unit}, {direction}", "small", "middle")
    )
    for number, result in enumerate(results):
        drawn += _bar(report, result, scale[-1], HEAD + PITCH * number, colours[result.side])
    return Picture(tuple(drawn), bottom + FOOT + 10)


def _axis(scale: Sequence[float], bottom: float) -> list[str]:
    drawn = [_line(NAMES, bottom, NAMES + PLOT, bottom, "axis")]
    for tick in scale:
        x = NAMES + PLOT * tick / scale[-1]
        drawn.append(_line(x, HEAD - 4, x, bottom, "grid"))
        drawn.append(_text(x, bottom + 13, format_value(tick), "small", "middle"))
    return drawn


def _bar(report: Report, result: Result, highest: float, y: float, colour: str) -> list[str]:
    numbers, middle = result.summary, y + BAR / 2
    low, median, high = (
        NAMES + PLOT * value / highest for value in (numbers.low, numbers.median, numbers.high)
    )
    size = f'width="{median - NAMES:.1f}" height="{BAR}"'
    return [
        _text(NAMES - 6, middle + 4, _short(result.side), anchor="end"),
        f'<rect x="{NAMES}" y="{y:g}" {size} fill="{colour}" fill-opacity="0.85"/>',
        _line(low, middle, high, middle, "whisker"),
        _line(low, middle - 3, low, middle + 3, "whisker"),
        _line(high, middle - 3, high, middle + 3, "whisker"),
        _text(NAMES + PLOT + 10, middle + 4, _label(report, result)),
    ]


def _label(report: Report, result: Result) -> str:
    ratio = report.ratio_of(result)
    value = format_value(result.summary.median)
    if ratio is None or result.side == report.baseline:
        return value
    return f"{value}  ({ratio.median:.2f} ×)"  # noqa: RUF001 - the sign is meant


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


def _moved(elements: Iterable[str], x: float, y: float) -> str:
    return f'<g transform="translate({x:g} {y:g})">' + "".join(elements) + "</g>"


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    shown = html.escape("".join(c if c.isprintable() else "?" for c in text))
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{shown}</text>'

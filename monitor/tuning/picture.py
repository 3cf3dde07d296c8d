"""The picture of a score: the past with its alarms, and how drifts of every size are found. One self-contained SVG.

What lives here: the layout and the shapes. What must not: scoring, files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from xml.sax.saxutils import escape

from monitor.alarms.plan import Watch
from monitor.statistics.evidence_cells import CellLayout
from monitor.tuning.injection import UNITS, Kind
from monitor.tuning.quiet import PastAlarm, Setup
from monitor.tuning.report import HARMLESS, Tuning
from monitor.tuning.scoring import Power
from monitor.tuning.suggestion import latest_effects
from monitor.windows import format_duration

WIDTH = 980
_LEFT, _RIGHT = 70, 24
_STRIP, _STRIP_GAP = 92, 40
_PANEL_WIDTH, _PANEL_HEIGHT, _PANELS = 178, 130, 4
_PANEL_GAP_X, _PANEL_GAP_Y = 54, 72
_COLOURS = ("#1d4ed8", "#c2410c")
_INK, _FAINT, _ALARM = "#1f2937", "#9ca3af", "#dc2626"
# Effects above this many tolerances are drawn at the top.
_TOP = 5.0


@dataclass
class _Sheet:
    parts: list[str]

    def line(self, x1: float, y1: float, x2: float, y2: float, colour: str, *, dashed: bool = False) -> None:
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        self.parts.append(f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="{colour}"{dash}/>')

    def path(self, points: Sequence[tuple[float, float]], colour: str, *, dashed: bool = False) -> None:
        steps = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        dash = ' stroke-dasharray="6 3"' if dashed else ""
        self.parts.append(f'<path d="M{steps}" fill="none" stroke="{colour}" stroke-width="1.6"{dash}/>')

    def dot(self, x: float, y: float, colour: str, title: str, radius: float = 3.0) -> None:
        self.parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" fill="{colour}"><title>{escape(title)}</title></circle>'
        )

    def box(self, x: float, y: float, width: float, height: float, colour: str, title: str) -> None:
        self.parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}" '
            f'fill-opacity="0.14"><title>{escape(title)}</title></rect>'
        )

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float = 11,
        anchor: str = "start",
        colour: str = _INK,
        bold: bool = False,
    ) -> None:
        weight = ' font-weight="600"' if bold else ""
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" text-anchor="{anchor}" fill="{colour}"{weight} '
            f'paint-order="stroke" stroke="#ffffff" stroke-width="3">{escape(text)}</text>'
        )


def draw(tuning: Tuning) -> str:
    """The picture as SVG text: strips of the past above, a curve of every kind of drift below."""
    sheet = _Sheet([])
    y = _head(sheet, tuning)
    for watch in tuning.setups[0].plan.watches:
        y = _strip(sheet, tuning, watch, y)
    y = _curves(sheet, tuning, y + 14)
    body = "\n".join(sheet.parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y:.0f}" viewBox="0 0 {WIDTH} {y:.0f}" '
        f'font-family="system-ui, sans-serif">\n<title>{escape(tuning.model)}: checks on their own past</title>\n'
        f'<rect width="100%" height="100%" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


def _head(sheet: _Sheet, tuning: Tuning) -> float:
    past, budget = tuning.past, tuning.setups[0].settings.false_alarms
    sheet.text(_LEFT, 30, f"{tuning.model}, version {past.version}: checks on their own past", size=17, bold=True)
    length = format_duration(past.settings.length_seconds)
    rows = f"{past.rows_per_observation:,.0f} rows each" + (" (a sample)" if past.sampled else "")
    origin = "drawn from the rows of the past" if past.drawn_anew else f"{_day(past.first)} to {_day(past.last)}"
    sheet.text(_LEFT, 50, f"{len(past.observations)} observations of {length}, {origin}, {rows}.", colour="#4b5563")
    found = ", ".join(f"{setup.name} {tuning.quiet(setup.name).per_quarter:.3g}" for setup in tuning.setups)
    sheet.text(_LEFT, 67, f"Alarms in 90 days, checks {found}; false alarms allowed: {budget}.", colour="#4b5563")
    x = float(_LEFT)
    if len(tuning.setups) > 1:
        for setup, colour in zip(tuning.setups, _COLOURS, strict=False):
            sheet.line(x, 84, x + 26, 84, colour, dashed=setup is not tuning.setups[0])
            sheet.text(x + 32, 88, f"checks {setup.name}")
            x += 150
    return 104.0


def _strip(sheet: _Sheet, tuning: Tuning, watch: Watch, y: float) -> float:
    """One check over the past: the effect as a share of the tolerance, alarms shaded."""
    first = tuning.past.observations[0].window.start
    last = tuning.past.observations[-1].window.end
    width = WIDTH - _LEFT - _RIGHT
    setup = tuning.setups[0]
    effects = latest_effects(tuning.quiet(setup.name), watch.name)
    shares = [(item.window_end, min(_share(watch, item.value or 0.0), _TOP)) for item in effects]
    limits = [(other, _share(watch, found.tolerance)) for other in tuning.setups for found in _same(other, watch)]
    top = max([1.2, *(share for _, share in shares), *(limit for _, limit in limits)]) * 1.05

    def across(moment: int) -> float:
        return _LEFT + width * min(max((moment - first) / max(last - first, 1), 0.0), 1.0)

    def up(share: float) -> float:
        return y + 18 + _STRIP * (1 - min(max(share, 0.0) / top, 1.0))

    sheet.text(_LEFT, y + 8, f"{watch.name}: effect, 1 is its tolerance as set ({watch.tolerance:.3g})", bold=True)
    for alarm in tuning.quiet(setup.name).alarms:
        if alarm.check == watch.name:
            begin, end = across(alarm.fired_at), across(alarm.resolved_at or last)
            sheet.box(begin, y + 18, max(end - begin, 2.0), _STRIP, _ALARM, _alarm_title(alarm))
    sheet.line(_LEFT, up(0), _LEFT + width, up(0), _FAINT)
    if all(abs(up(limit) - up(0)) > 11 for _, limit in limits):
        sheet.text(_LEFT - 6, up(0) + 4, "0", anchor="end", size=10)
    if any(share >= _TOP for _, share in shares) and all(abs(up(limit) - up(_TOP)) > 11 for _, limit in limits):
        sheet.text(_LEFT - 6, up(_TOP) + 4, f"≥ {_TOP:g}", anchor="end", size=10)
    for (other, limit), colour in zip(limits, _COLOURS, strict=False):
        sheet.line(_LEFT, up(limit), _LEFT + width, up(limit), colour, dashed=True)
        if other is setup or abs(up(limit) - up(1.0)) > 11:
            sheet.text(_LEFT - 6, up(limit) + 4, f"{limit:.2g}", anchor="end", size=10, colour=colour)
    if shares:
        sheet.path([(across(end), up(share)) for end, share in shares], _INK)
    if len(shares) <= 200:
        for (end, share), item in zip(shares, effects, strict=True):
            where = f", {item.column}" if item.column else ""
            colour = _ALARM if share > 1 else _INK
            sheet.dot(across(end), up(share), colour, f"window to {_day(end)}: {item.value:.4g}{where}", 2.2)
    sheet.text(_LEFT, y + 18 + _STRIP + 13, _day(first), size=10, colour="#4b5563")
    sheet.text(_LEFT + width, y + 18 + _STRIP + 13, _day(last), size=10, anchor="end", colour="#4b5563")
    if not shares:
        sheet.text(_LEFT + 8, y + 40, "no window could be judged", colour="#4b5563")
    return y + _STRIP + _STRIP_GAP


def _curves(sheet: _Sheet, tuning: Tuning, y: float) -> float:
    kinds = list(dict.fromkeys(power.kind for power in tuning.score.power))
    trials = tuning.trials
    title = f"Share of drifts found within {trials.horizon} observations, {trials.trials} trials each"
    if not kinds:
        for why in dict.fromkeys(tuning.score.not_tried.values()):
            sheet.text(_LEFT, y, f"No drift was tried: {why}.")
            y += 16
        return y + 10
    sheet.text(_LEFT, y + 8, f"{title}; under every size the median delay", bold=True)
    y += 46
    for place, kind in enumerate(kinds):
        column, row = place % _PANELS, place // _PANELS
        _panel(
            sheet,
            tuning,
            kind,
            _LEFT + column * (_PANEL_WIDTH + _PANEL_GAP_X),
            y + row * (_PANEL_HEIGHT + _PANEL_GAP_Y),
        )
    rows = -(-len(kinds) // _PANELS)
    return y + rows * (_PANEL_HEIGHT + _PANEL_GAP_Y)


def _panel(sheet: _Sheet, tuning: Tuning, kind: Kind, x: float, y: float) -> None:
    harmless = ", no harm" if kind in HARMLESS else ""
    sheet.text(x, y - 10, f"{kind.replace('_', ' ')} ({UNITS[kind]}{harmless})", bold=True)
    mine = [power for power in tuning.score.power if power.kind is kind and power.check is None]
    sizes = sorted({power.size for power in mine})
    least = 1.0 if kind is Kind.SCALE else 0.0
    # From no drift at all: a factor of 1, else nothing.
    reach = max(sizes[-1] - least, 1e-9)

    def across(size: float) -> float:
        return x + _PANEL_WIDTH * (size - least) / reach

    def up(share: float) -> float:
        return y + _PANEL_HEIGHT * (1 - share)

    for share in (0.0, 0.5, 1.0):
        sheet.line(x, up(share), x + _PANEL_WIDTH, up(share), "#e5e7eb" if share else _FAINT)
        sheet.text(x - 5, up(share) + 4, f"{share:.0%}", size=9, anchor="end", colour="#4b5563")
    for size in sizes:
        sheet.text(across(size), y + _PANEL_HEIGHT + 14, f"{size:g}", size=9, anchor="middle", colour="#4b5563")
    for place, (setup, colour) in enumerate(zip(tuning.setups, _COLOURS, strict=False)):
        own = sorted((power for power in mine if power.setup == setup.name), key=lambda power: power.size)
        sheet.path([(across(power.size), up(power.share)) for power in own], colour, dashed=place > 0)
        for power in own:
            delay = _delay(power, tuning)
            title = f"{setup.name}: {power.found} of {power.trials} found" + (
                f", median after {delay}" if delay else ""
            )
            sheet.dot(across(power.size), up(power.share), colour, title)
            line = y + _PANEL_HEIGHT + 27 + 12 * place
            sheet.text(across(power.size), line, delay or "–", size=9, anchor="middle", colour=colour)


def _same(setup: Setup, watch: Watch) -> list[Watch]:
    return [item for item in setup.plan.watches if item.name == watch.name]


def _share(watch: Watch, effect: float) -> float:
    """An effect as a share of the way from no harm to the tolerance."""
    base = 0.0
    if not isinstance(watch.cells, CellLayout) and watch.threshold.side == "above" and watch.own is not None:
        base = watch.own
    reach = watch.tolerance - base
    return (effect - base) / reach if reach > 0 else (2.0 if effect > watch.tolerance else 0.0)


def _alarm_title(alarm: PastAlarm) -> str:
    until = "the end" if alarm.resolved_at is None else _day(alarm.resolved_at)
    return f"{alarm.check} fired {_day(alarm.fired_at)} until {until}. {alarm.text}"


def _delay(power: Power, tuning: Tuning) -> str | None:
    delay = power.median_delay
    return None if delay is None else format_duration(delay * tuning.past.settings.length_seconds)


def _day(moment: int) -> str:
    return datetime.fromtimestamp(moment / 1e6, tz=UTC).strftime("%Y-%m-%d")

"""A comparison as one self-contained page: no script, no other file, nothing fetched.

What lives here: markup and pictures of a comparison. What must not: judgement, statistics.
"""

from __future__ import annotations

import datetime
from html import escape

import numpy as np

from monitor.comparison import ColumnComparison, Comparison, Shares, notes, segment_lines
from monitor.profiles.lattice import from_axis
from monitor.statistics.macro import worst_classes
from monitor.statistics.result import Absent, Estimate, Result

_WIDTH, _HEIGHT, _FOOT = 420, 120, 18
_STATE_WORDS = {"critical": "critical", "warning": "warning", "ok": "ok", "insufficient": "too little data"}
_COLUMNS = (
    ("PSI", "population_stability_index"),
    ("beyond chance", "population_stability_index_excess"),
    ("Jensen-Shannon", "jensen_shannon_distance"),
    ("Kolmogorov-Smirnov", "kolmogorov_smirnov_statistic"),
    ("Wasserstein (sd)", "wasserstein_distance"),
    ("mean shift (sd)", "mean_shift"),
    ("chi-square", "chi_square_statistic"),
    ("total variation", "total_variation_distance"),
    ("Hellinger", "hellinger_distance"),
    ("missing, change", "missing_rate_difference"),
    ("out of range", "out_of_range_ratio"),
    ("new categories", "new_category_ratio"),
    ("MMD²", "maximum_mean_discrepancy"),
    ("Fréchet", "frechet_distance"),
    ("classifier AUROC", "domain_classifier_auroc"),
)
_CLASS_COLUMNS = {"precision": "precision", "recall": "recall", "f1": "F1", "auroc": "AUROC"}
_STYLE = """
:root { color-scheme: light dark; --ink: #1c2733; --paper: #fff; --faint: #66727f; --line: #d9dfe5; --panel: #f5f7f9;
  --then: #8794a3; --now: #1f6fb2; --critical: #b3261e; --warning: #8a5a00; --ok: #1b7a43; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6ebf0; --paper: #12181f; --faint: #9aa7b4; --line: #2c3742;
  --panel: #1a222b; --then: #8794a3; --now: #57a8ec; --critical: #ff8a80; --warning: #f0b64d; --ok: #66c992; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 0 auto;
  max-width: 1080px; padding: 24px; }
h1 { font-size: 22px; margin: 0 0 4px; } h2 { font-size: 17px; margin: 32px 0 8px; }
p.note { color: var(--faint); margin: 4px 0; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 4px 10px 4px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; color: var(--faint); } td.number, th.number { text-align: right; }
article { background: var(--panel); border: 1px solid var(--line); border-radius: 8px; padding: 14px 16px;
  margin: 12px 0; display: grid; grid-template-columns: minmax(0, 430px) minmax(0, 1fr); gap: 8px 24px; }
article header { grid-column: 1 / -1; display: flex; gap: 12px; align-items: baseline; flex-wrap: wrap; }
article h3 { font-size: 16px; margin: 0; overflow-wrap: anywhere; } article .why { color: var(--faint); }
article svg { width: 100%; height: auto; } article svg text { font: 11px system-ui, sans-serif; fill: var(--faint); }
.state { font-weight: 600; } .critical { color: var(--critical); } .warning { color: var(--warning); }
.ok { color: var(--ok); } .insufficient { color: var(--faint); }
.key i { display: inline-block; width: 12px; height: 12px; margin: 0 6px 0 14px; border-radius: 2px; }
@media (max-width: 760px) { article { grid-template-columns: 1fr; } }
"""


def comparison_page(comparison: Comparison, reference: str, current: str) -> str:
    """The page; `reference` and `current` are what the two sides are called."""
    title = f"{current} against {reference}"
    counts = ", ".join(
        f"{comparison.count(state)} {_STATE_WORDS[state]}"
        for state in ("critical", "warning", "ok", "insufficient")
        if comparison.count(state)
    )
    rows = f"{comparison.current_rows:,} rows against {comparison.reference_rows:,} of the reference"
    parts = [
        "<!doctype html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{_STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1><p>{rows}. {len(comparison.columns)} columns: {counts or 'none'}.</p>",
        _sampling(comparison),
        _unread(comparison),
        '<p class="note">A change is judged by its size beyond what chance gives at these numbers of rows. Drift is not'
        " damage: whether a model got worse, only labels tell.</p>",
        _performance(comparison),
        _classes(comparison),
        _segments(comparison),
        '<h2>Columns, worst first <span class="key note"><i style="background:var(--then)"></i>reference'
        '<i style="background:var(--now)"></i>current</span></h2>',
        *(_article(column) for column in comparison.columns),
        "</body></html>",
    ]
    return "\n".join(part for part in parts if part)


def _sampling(comparison: Comparison) -> str:
    if comparison.sampled_rows is None:
        return ""
    rows = f"{comparison.sampled_rows:,}"
    return (
        f'<p class="note">Cells and scales come from a sample of {rows} rows of the reference; counts are of all.</p>'
    )


def _unread(comparison: Comparison) -> str:
    if not any(comparison.unread):
        return ""
    then, now = comparison.unread
    return f'<p class="note">Left out, because they cannot be read: {then:,} rows of the reference, {now:,} now.</p>'


def _classes(comparison: Comparison) -> str:
    if not comparison.classes:
        return ""
    lines = []
    for name, results in worst_classes(comparison.classes):
        shown = (f'<td class="number">{_shown(results[key])}</td>' for key in _CLASS_COLUMNS)
        labels = f'<td class="number">{results["recall"].n:,}</td>'
        lines.append(f"<tr><td>{escape(name)}</td>{labels}{''.join(shown)}</tr>")
    heads = "".join(f'<th class="number">{title}</th>' for title in ("labels", *_CLASS_COLUMNS.values()))
    return f"<h2>Classes, lowest F1 first</h2><table><tr><th>class</th>{heads}</tr>{''.join(lines)}</table>"


def _segments(comparison: Comparison) -> str:
    lines = []
    for line in segment_lines(comparison):
        then, before = line.reference_predictions, line.reference
        moved = f" ({line.drift.detail})" if isinstance(line.drift, Estimate) else ""
        cells = (
            f"{line.predictions:,}",
            "–" if then is None else f"{then:,}",
            f"{line.labels:,}",
            _shown(line.performance),
            "–" if before is None else f"{before:.4g}",
            _shown(line.drift) + escape(moved),
        )
        shown = "".join(f'<td class="number">{cell}</td>' for cell in cells)
        lines.append(f"<tr><td>{escape(line.name)}</td>{shown}</tr>")
    if not lines:
        return ""
    heads = ("rows", "of the reference", "labels", "performance", "of the reference", "largest PSI beyond chance")
    head = "".join(f'<th class="number">{title}</th>' for title in heads)
    metric = "accuracy" if comparison.classes else "accuracy, or root mean squared error of a regression"
    note = f'<p class="note">Performance is {metric}; drift is against the reference rows of the same value.</p>'
    return f"<h2>Segments, worst first</h2>{note}<table><tr><th>value</th>{head}</tr>{''.join(lines)}</table>"


def _performance(comparison: Comparison) -> str:
    if not any(isinstance(result, Estimate) for result in comparison.performance.values()):
        return ""
    lines = []
    for name, result in comparison.performance.items():
        reference = comparison.reference_performance.get(name)
        then = "–" if reference is None else f"{reference:.4g}"
        cells = f'<td class="number">{_shown(result)}</td><td class="number">{then}</td>'
        lines.append(f"<tr><td>{escape(name.replace('_', ' '))}</td>{cells}</tr>")
    head = '<tr><th>performance</th><th class="number">current</th><th class="number">reference</th></tr>'
    told = "".join(f'<p class="note">{escape(line)}</p>' for line in notes(comparison.performance))
    return f"<h2>Performance</h2><table>{head}{''.join(lines)}</table>{told}"


def _article(column: ColumnComparison) -> str:
    state = column.verdict.state
    lines = [
        f'<tr><td>{label}</td><td class="number">{_shown(column.statistics[key])}</td></tr>'
        for label, key in _COLUMNS
        if key in column.statistics
    ]
    why = f"{column.kind}; {column.verdict.reason}" if column.verdict.reason else column.kind
    header = (
        f'<header><h3>{escape(column.name)}</h3><span class="state {state}">{_STATE_WORDS[state]}</span>'
        f'<span class="why">{escape(why)}</span></header>'
    )
    picture = "" if column.shares is None else _picture(column.shares, column.name, column.kind == "timestamp")
    table = f"<table>{''.join(lines)}</table>" if lines else ""
    return f"<article>{header}<div>{picture}</div><div>{table}</div></article>"


def _shown(result: Result) -> str:
    if isinstance(result, Absent):
        return escape(str(result.reason).replace("_", " "))
    text = f"{result.value:.4g}"
    if result.lower is not None and result.upper is not None:
        text += f" [{result.lower:.4g}, {result.upper:.4g}]"
    if result.error_bound is not None and result.error_bound > 0.005 * abs(result.value):
        text += f" ± {result.error_bound:.2g}"
    return text


def _picture(shares: Shares, name: str, is_time: bool) -> str:
    bars = shares.reference.size
    if not bars:
        return ""
    top = float(max(shares.reference.max(), shares.current.max(), 1e-12))
    width, drawn = _WIDTH / bars, []
    for values, colour, opacity in ((shares.reference, "--then", 0.55), (shares.current, "--now", 0.5)):
        for i, share in enumerate(values.tolist()):
            height = share / top * (_HEIGHT - 4)
            place = f'x="{i * width:.1f}" y="{_HEIGHT - height:.1f}" width="{max(width - 1, 1):.1f}"'
            drawn.append(f'<rect {place} height="{height:.1f}" fill="var({colour})" fill-opacity="{opacity}"/>')
    if shares.names:
        drawn += [_bar_title(shares, i, width) for i in range(bars)]
        label = _category_labels(shares, width)
    else:
        label = _axis(shares, is_time)
    box = f'viewBox="0 0 {_WIDTH} {_HEIGHT + _FOOT}" role="img"'
    about = f"<title>{escape(name)}: shares of reference and current</title>"
    line = f'<line x1="0" x2="{_WIDTH}" y1="{_HEIGHT}" y2="{_HEIGHT}" stroke="var(--line)"/>'
    return f"<svg {box}>{about}{''.join(drawn)}{line}{label}</svg>"


def _bar_title(shares: Shares, i: int, width: float) -> str:
    text = f"{shares.names[i]}: {shares.reference[i]:.2%}, now {shares.current[i]:.2%}"
    place = f'x="{i * width:.1f}" y="0" width="{width:.1f}" height="{_HEIGHT}"'
    return f'<rect {place} fill="transparent"><title>{escape(text)}</title></rect>'


def _category_labels(shares: Shares, width: float) -> str:
    room = max(int(width / 6.5), 1)
    labels = []
    for i, name in enumerate(shares.names):
        short = name if len(name) <= room else name[: max(room - 1, 1)] + "…"
        x = (i + 0.5) * width
        labels.append(f'<text x="{x:.1f}" y="{_HEIGHT + 13}" text-anchor="middle">{escape(short)}</text>')
    return "".join(labels)


def _axis(shares: Shares, is_time: bool) -> str:
    assert shares.edges is not None
    ends = shares.edges[[0, shares.edges.size // 2, -1]]
    ends = from_axis(ends, "logit") if shares.is_logit else ends
    places = ((0, "start"), (_WIDTH / 2, "middle"), (_WIDTH, "end"))
    texts = [_moment(value) if is_time else f"{value:.4g}" for value in np.asarray(ends).tolist()]
    return "".join(
        f'<text x="{x:.0f}" y="{_HEIGHT + 13}" text-anchor="{anchor}">{escape(text)}</text>'
        for (x, anchor), text in zip(places, texts, strict=True)
    )


def _moment(seconds: float) -> str:
    try:
        return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):
        return f"{seconds:.6g} s"

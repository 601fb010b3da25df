"""A story drawn: an execution's events, what reads from what, and the orders between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from itertools import pairwise
from textwrap import wrap
from typing import NamedTuple

from static_call.check.changes import show_change
from static_call.check.story import Story
from static_call.memory_model.telling import told, why
from static_call.memory_model.cycles import Edge, order_edges
from static_call.memory_model.executions import INITIAL, Execution

_WIDE, _HIGH, _GAP, _ROW = 400, 30, 190, 46
_TOP, _LEFT, _RIGHT = 84, 130, 110
_COLOURS = {
    "rf": "#c2410c", "co": "#7c3aed", "fr": "#0369a1", "ob": "#6b7280", "cycle": "#15803d",
    "conflict": "#b91c1c",
}  # fmt: skip
_LEGEND = {
    "rf": "rf: reads from", "fr": "fr: reads what this write replaces", "co": "co: written later",
    "ob": "ordered before, by this axiom", "cycle": "the cycle that forbids it",
    "conflict": "in no order, and not both on the list",
}  # fmt: skip
_STYLE = """
text { font: 13px ui-monospace, "DejaVu Sans Mono", monospace; fill: #111827; }
.title { font: bold 17px system-ui, "DejaVu Sans", sans-serif; }
.note { font: 13px system-ui, "DejaVu Sans", sans-serif; fill: #374151; }
.axiom { font: 11px system-ui, "DejaVu Sans", sans-serif; }
""".strip()


class _Box(NamedTuple):
    """Where an event is drawn.

    Attributes:
        x: The position of its left edge.
        y: The position of its upper edge.
        thread: The event's thread.
    """

    x: int
    y: int
    thread: int

    @classmethod
    def at(cls, row: int, thread: int) -> _Box:
        return cls(_LEFT + thread * (_WIDE + _GAP), _TOP + 34 + row * _ROW, thread)

    @property
    def middle(self) -> int:
        return self.y + _HIGH // 2

    def side(self, other: _Box) -> int:
        """The x of the side where an edge to or from another box ends."""
        if self.thread == other.thread:
            return self.x + (0 if self.thread == 0 else _WIDE)
        return self.x + (_WIDE if self.thread == 0 else 0)


def svg(story: Story) -> str:
    """The story as an SVG document that needs no other file."""
    verdict, execution = story.verdict, story.execution
    title = f"{verdict.design.name}: {show_change(verdict.change)}"
    if execution is None:
        note = f"{verdict.name} holds: no values lead to a wrong call"
        return _document(760, 120, [*_heading(title, note)], title)
    texts = dict(told(story.scene, execution, story.cycle))
    boxes = {i: _Box.at(row, execution.thread[i]) for row, i in enumerate(texts)}
    width = _LEFT + 2 * _WIDE + _GAP + _RIGHT
    height = _TOP + 34 + len(boxes) * _ROW + 90
    note = f"{verdict.name} holds: the model forbids this execution"
    if verdict.holds is False:
        note = f"{verdict.name}: {verdict.says}"
    parts = [*_heading(title, note), *_threads(boxes)]
    used = set()
    for number, (kind, a, b, label) in enumerate(_relations(story)):
        used.add(kind)
        parts += _edge(boxes[a], boxes[b], kind, label, number)
    parts += _events(story, execution, boxes, texts)
    parts += _legend(used, height - 56)
    return _document(width, height, parts, title)


def _threads(boxes: Mapping[int, _Box]) -> Iterator[str]:
    """The threads' names, and a line through the events of each."""
    for thread, name in enumerate(("updater", "caller")):
        x = _LEFT + thread * (_WIDE + _GAP)
        yield f'<text class="note" x="{x}" y="{_TOP + 14}" font-weight="bold">{name}</text>'
        own = [box for box in boxes.values() if box.thread == thread]
        if own:
            yield (
                f'<line x1="{x + _WIDE // 2}" y1="{own[0].y}" x2="{x + _WIDE // 2}" '
                f'y2="{own[-1].y}" stroke="#d1d5db" stroke-width="2"/>'
            )


def _events(
    story: Story, execution: Execution, boxes: Mapping[int, _Box], texts: Mapping[int, str]
) -> Iterator[str]:
    """The events' boxes. Those in the cycle, and those that go wrong, have a colour."""
    in_cycle = {i for edge in story.cycle for i in (edge.source, edge.target, *edge.through)}
    for edge in story.cycle:
        in_cycle |= {step.target for step in why(execution, edge)}
    for i, box in boxes.items():
        wrong = story.verdict.holds is False and _is_wrong(story, i)
        stroke = _COLOURS["cycle"] if i in in_cycle else "#b91c1c" if wrong else "#6b7280"
        fill = "#fef2f2" if wrong else "#f0fdf4" if i in in_cycle else "#ffffff"
        size = min(13.0, (_WIDE - 16) / (max(len(texts[i]), 1) * 0.61))
        yield (
            f'<rect x="{box.x}" y="{box.y}" width="{_WIDE}" height="{_HIGH}" rx="5" '
            f'fill="{fill}" stroke="{stroke}" stroke-width="1.3"/>'
            f'<text x="{box.x + 8}" y="{box.y + 20}" style="font-size:{size:.1f}px">'
            f"{escape(texts[i])}</text>"
        )


def _heading(title: str, note: str) -> Iterator[str]:
    yield f'<text class="title" x="24" y="34">{escape(title)}</text>'
    for row, line in enumerate(_lines(note, 120)):
        yield f'<text class="note" x="24" y="{58 + 18 * row}">{escape(line)}</text>'


def _lines(text: str, width: int) -> list[str]:
    return wrap(text, width) or [""]


def _document(width: int, height: int, parts: list[str], title: str) -> str:
    markers = "".join(
        f'<marker id="m-{kind}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        f'markerHeight="7" orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="{colour}"/></marker>'
        for kind, colour in _COLOURS.items()
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img">\n<title>{escape(title)}</title>\n'
        f"<style>{_STYLE}</style>\n<defs>{markers}</defs>\n"
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _relations(story: Story) -> Iterator[tuple[str, int, int, str]]:
    """What is drawn between events: its kind, the two events, and its label."""
    execution = story.execution
    assert execution is not None
    drawn: set[tuple[int, int]] = set()
    for edge in story.cycle:
        reasons = why(execution, edge)
        for step in reasons:
            drawn.add((step.source, step.target))
            yield "cycle", step.source, step.target, step.axiom
        legs = [edge.source, *edge.through, edge.target][1 if reasons else 0 :]
        for number, (a, b) in enumerate(pairwise(legs)):
            drawn.add((a, b))
            yield "cycle", a, b, edge.axiom if not number else ""
    for a, b in story.verdict.what.conflicts(execution):
        drawn.add((a, b))
        yield "conflict", a, b, "unordered"
    for r, w in execution.rf.items():
        if w != INITIAL and (w, r) not in drawn:
            yield "rf", w, r, "rf"
            drawn.add((w, r))
        later = execution.from_reads(r)
        if later and (r, later[0]) not in drawn:
            yield "fr", r, later[0], "fr"
            drawn.add((r, later[0]))
    for order in execution.co.values():
        for a, b in pairwise(order):
            yield "co", a, b, "co"
            drawn.add((a, b))
    if not story.cycle:
        for edge in _nearest([e for e in order_edges(execution) if _worth(story, e)]):
            if (edge.source, edge.target) not in drawn:
                yield "ob", edge.source, edge.target, edge.axiom


def _nearest(edges: list[Edge]) -> Iterator[Edge]:
    """The edges between threads that no other edge implies.

    Each leads from an event to the first event of another thread that it is before, and from the
    last such event.
    """
    for edge in edges:
        if not any(
            other is not edge and edge.source <= other.source and other.target <= edge.target
            for other in edges
        ):
            yield edge


def _worth(story: Story, edge: Edge) -> bool:
    """Whether an order is drawn: only between threads, and not between two CSEs."""
    execution = story.execution
    assert execution is not None
    thread, kinds = execution.thread, {execution.events[i].kind for i in edge[:2]}
    return (
        thread[edge.source] != thread[edge.target]
        and kinds != {"CSE"}
        and ("shootdown" not in edge.axiom)
    )


def _is_wrong(story: Story, index: int) -> bool:
    """Whether an event belongs to what goes wrong.

    It is in conflict with another, or is the caller's last fetch or load.
    """
    execution = story.execution
    assert execution is not None
    if conflicts := story.verdict.what.conflicts(execution):
        return any(index in pair for pair in conflicts)
    caller = [i for i in execution.rf if execution.thread[i] == 1]
    return bool(caller) and index == caller[-1]


def _edge(a: _Box, b: _Box, kind: str, label: str, number: int) -> Iterator[str]:
    """A curve between two boxes, with its label."""
    colour, (x1, x2) = _COLOURS[kind], (a.side(b), b.side(a))
    y1, y2 = a.middle + 5, b.middle - 5
    if a.thread == b.thread:
        out = (26 + 20 * (number % 3)) * (-1 if a.thread == 0 else 1)
        path = f"M{x1} {y1} C{x1 + out} {y1} {x2 + out} {y2} {x2} {y2}"
        tx, ty = x1 + out * 0.8, (y1 + y2) / 2 + 4 + 14 * (number % 3 - 1)
        anchor = "end" if a.thread == 0 else "start"
    else:
        pull = (x2 - x1) * 0.45
        path = f"M{x1} {y1} C{x1 + pull} {y1} {x2 - pull} {y2} {x2} {y2}"
        share = (0.35, 0.5, 0.65)[number % 3]
        tx, ty = x1 + (x2 - x1) * share, y1 + (y2 - y1) * (3 * share**2 - 2 * share**3) - 4
        anchor = "middle"
    dash = ' stroke-dasharray="4 3"' if kind in ("ob", "conflict") else ""
    wide = 2.6 if kind == "cycle" else 1.6
    yield (
        f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{wide}"{dash} '
        f'marker-end="url(#m-{kind})"/>'
    )
    if not label:
        return
    yield (
        f'<text class="axiom" x="{tx:.0f}" y="{ty:.0f}" text-anchor="{anchor}" '
        f'style="fill:{colour};paint-order:stroke;stroke:#fff;stroke-width:3px">'
        f"{escape(label)}</text>"
    )


def _legend(used: set[str], y: int) -> Iterator[str]:
    x = 24
    for kind in (kind for kind in _LEGEND if kind in used):
        dash = ' stroke-dasharray="4 3"' if kind in ("ob", "conflict") else ""
        yield (
            f'<line x1="{x}" y1="{y}" x2="{x + 26}" y2="{y}" stroke="{_COLOURS[kind]}" '
            f'stroke-width="2.2"{dash}/>'
            f'<text class="note" x="{x + 32}" y="{y + 4}">{escape(_LEGEND[kind])}</text>'
        )
        x += 60 + int(7.2 * len(_LEGEND[kind]))


def html(story: Story) -> str:
    """The story as an HTML page that needs no other file: the drawing, and the text."""
    verdict = story.verdict
    title = f"{verdict.design.name}: {show_change(verdict.change)}: {verdict.name}"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{escape(title)}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 1160px; margin: 2em auto; }}
pre {{ font: 13px/1.45 ui-monospace, monospace; overflow-x: auto; }}
svg {{ max-width: 100%; height: auto; }}
</style>
</head>
<body>
<h1>{escape(title)}</h1>
<p>{escape(verdict.what.meaning.capitalize())}.</p>
{svg(story)}
<pre>{escape(story.text)}</pre>
</body>
</html>
"""

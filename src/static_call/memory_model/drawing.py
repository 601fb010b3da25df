"""An execution drawn: its events, what reads from what, and the orders between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from math import ceil
from textwrap import wrap
from typing import NamedTuple

from static_call.memory_model.cycles import Edge, order_edges
from static_call.memory_model.executions import INITIAL, Execution
from static_call.memory_model.telling import Words, named, told, why

_HIGH, _GAP, _ROW = 30, 190, 46
_LEFT, _RIGHT = 130, 110
_LETTER, _SMALL, _NOTE, _TITLE = 7.95, 6.4, 7.2, 10.2
"""Pixels of a letter, at most: in a box, on an edge, in a note, in the title."""
_WIDEST, _NARROWEST, _LONELY = 400, 180, 760
"""Pixels of a box, and of a document without one."""
_COLOURS = {
    "rf": "#c2410c", "co": "#7c3aed", "fr": "#0369a1", "ob": "#6b7280", "cycle": "#15803d",
    "conflict": "#b91c1c",
}  # fmt: skip
_DASHED = ("ob", "conflict")
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


@dataclass(frozen=True)
class Picture:
    """What is drawn.

    Attributes:
        title: What it is about.
        note: What holds of it.
        words: What its threads, addresses and values are called.
        execution: The execution, or None if there is none to draw.
        cycle: What forbids it, if something does.
        conflicts: Fetches and writes in no order, which the list of B2.2.5 does not allow.
        wrong: Events that belong to what goes wrong.
    """

    title: str
    note: str
    words: Words
    execution: Execution | None
    cycle: tuple[Edge, ...] = ()
    conflicts: Sequence[tuple[int, int]] = ()
    wrong: frozenset[int] = frozenset()


class _Line(NamedTuple):
    """What is drawn between two events.

    Attributes:
        kind: What it is: a key of _LEGEND.
        source: The event where it starts.
        target: The event where it ends.
        label: The text beside it.
    """

    kind: str
    source: int
    target: int
    label: str


class _Box(NamedTuple):
    """Where something is drawn: an event or a label.

    Attributes:
        x: The position of its left edge.
        y: The position of its upper edge.
        wide: Its width.
        high: Its height.
    """

    x: float
    y: float
    wide: float
    high: float = _HIGH

    def meets(self, other: _Box) -> bool:
        """Whether two boxes overlap."""
        return (
            self.x < other.x + other.wide
            and other.x < self.x + self.wide
            and self.y < other.y + other.high
            and other.y < self.y + self.high
        )


def svg(picture: Picture) -> str:
    """The picture as an SVG document that needs no other file."""
    if picture.execution is None:
        heading = _heading(picture, _LONELY)
        return _document(_LONELY, 24 * len(heading) + 72, heading, picture.title)
    return _Drawing(picture, picture.execution).document()


class _Drawing:
    """An execution as SVG.

    The events have a column for each thread, and a row each, in the order in which they are told.
    So what runs along a row meets no box but its own.
    """

    def __init__(self, picture: Picture, execution: Execution) -> None:
        self._picture, self._thread = picture, execution.thread
        self._texts = dict(told(picture.words, execution, picture.cycle))
        longest = max(map(len, self._texts.values()), default=0)
        self._wide = min(max(ceil(longest * _LETTER) + 16, _NARROWEST), _WIDEST)
        columns = len(picture.words.threads)
        self._width = _LEFT + columns * (self._wide + _GAP) - _GAP + _RIGHT
        self._heading = _heading(picture, self._width)
        self._top = 72 + 18 * len(self._heading)
        self._boxes = {
            i: _Box(self._left(self._thread[i]), self._top + 24 + row * _ROW, self._wide)
            for row, i in enumerate(self._texts)
        }
        self._in_cycle = _in_cycle(execution, picture.cycle)
        self._lines = list(_lines(picture, execution))

    def _left(self, thread: int) -> int:
        """The x of a thread's boxes."""
        return _LEFT + thread * (self._wide + _GAP)

    def document(self) -> str:
        """All of it."""
        legend = list(_legend({line.kind for line in self._lines}, self._width))
        bottom = self._top + 24 + len(self._boxes) * _ROW
        places = [(x, bottom + 16 + 22 * row, kind) for x, row, kind in legend]
        high = bottom + 40 + 22 * max((row for _, row, _ in legend), default=0)
        curves = [self._curve(number, line) for number, line in enumerate(self._lines)]
        parts = [*self._heading, *self._threads()]
        parts += [_path(line.kind, curve) for line, curve in zip(self._lines, curves)]
        parts += [*self._events(), *self._labels(curves)]
        parts += [part for place in places for part in _legend_item(*place)]
        return _document(self._width, high, parts, self._picture.title)

    def _threads(self) -> Iterator[str]:
        """The threads' names, and a line through the events of each."""
        for thread, name in enumerate(self._picture.words.threads):
            x = self._left(thread)
            yield (
                f'<text class="note" x="{x}" y="{self._top + 4}" font-weight="bold">'
                f"{escape(name)}</text>"
            )
            own = [box for i, box in self._boxes.items() if self._thread[i] == thread]
            if own:
                middle = x + self._wide // 2
                yield (
                    f'<line x1="{middle}" y1="{own[0].y}" x2="{middle}" y2="{own[-1].y}" '
                    'stroke="#d1d5db" stroke-width="2"/>'
                )

    def _events(self) -> Iterator[str]:
        """The events' boxes. Those in the cycle, and those that go wrong, have a colour."""
        for i, box in self._boxes.items():
            wrong = i in self._picture.wrong
            inside = i in self._in_cycle
            stroke = _COLOURS["cycle"] if inside else _COLOURS["conflict"] if wrong else "#6b7280"
            fill = "#fef2f2" if wrong else "#f0fdf4" if inside else "#ffffff"
            text = self._texts[i]
            size = min(13.0, 13 * (self._wide - 16) / (max(len(text), 1) * _LETTER))
            yield (
                f'<rect x="{box.x}" y="{box.y}" width="{box.wide}" height="{box.high}" rx="5" '
                f'fill="{fill}" stroke="{stroke}" stroke-width="1.3"/>'
                f'<text x="{box.x + 8}" y="{box.y + 20}" style="font-size:{size:.1f}px">'
                f"{escape(text)}</text>"
            )

    def _curve(self, number: int, line: _Line) -> _Curve:
        """The way from one box to another: through the gap beside the first, then along a row."""
        a, b = self._boxes[line.source], self._boxes[line.target]
        y1, y2 = a.y + _HIGH // 2 + 5, b.y + _HIGH // 2 - 5
        from_, to = self._thread[line.source], self._thread[line.target]
        if from_ == to:
            out, x = 26 + 20 * (number % 3), a.x + self._wide
            if from_ == 0:
                out, x = -out, a.x
            return _Curve((x, x + out, x + out, x), (y1, y1, y2, y2), x, out)
        x1, x2 = (a.x + self._wide, b.x) if from_ < to else (a.x, b.x + self._wide)
        turn = x1 + (_GAP if from_ < to else -_GAP)
        pull = (turn - x1) * 0.45
        return _Curve((x1, x1 + pull, turn - pull, turn), (y1, y1, y2, y2), x2, 0)

    def _labels(self, curves: list[_Curve]) -> Iterator[str]:
        """The lines' labels, each where it meets no box and no other label, if it can."""
        taken = list(self._boxes.values())
        for line, curve in zip(self._lines, curves):
            if line.label:
                places = list(curve.places(_SMALL * len(line.label)))
                found = [one for one in places if not any(map(one.meets, taken))]
                box = (found or places)[0]
                taken.append(box)
                yield (
                    f'<text class="axiom" x="{box.x + box.wide / 2:.0f}" y="{box.y + 10:.0f}" '
                    f'text-anchor="middle" style="fill:{_COLOURS[line.kind]};paint-order:stroke;'
                    f'stroke:#fff;stroke-width:3px">{escape(line.label)}</text>'
                )


class _Curve(NamedTuple):
    """A way between two boxes.

    Attributes:
        x: The positions of a cubic Bézier curve's four points.
        y: The same, downwards.
        end: Where it ends, after a straight line from the last point.
        out: How far it goes out and comes back, to the left if negative; 0 if it goes across.
    """

    x: tuple[float, float, float, float]
    y: tuple[float, float, float, float]
    end: float
    out: int

    @property
    def path(self) -> str:
        (a, b, c, d), (e, f, g, h) = self.x, self.y
        along = "" if self.end == d else f" H{self.end:g}"
        return f"M{a:g} {e:g} C{b:g} {f:g} {c:g} {g:g} {d:g} {h:g}{along}"

    def at(self, share: float) -> tuple[float, float]:
        """The point at a share of the curve."""
        rest = 1 - share
        weights = rest**3, 3 * rest**2 * share, 3 * rest * share**2, share**3
        return (
            sum(w * x for w, x in zip(weights, self.x)),
            sum(w * y for w, y in zip(weights, self.y)),
        )

    def places(self, wide: float) -> Iterator[_Box]:
        """Where a label of some width may be, the best place first."""
        for down in (0, -13, 13, -26, 26):
            for share in (0.5, 0.35, 0.65, 0.25, 0.75, 0.15, 0.85):
                x, y = self.at(share)
                if not self.out:
                    x -= wide / 2
                else:
                    x += 4 if self.out > 0 else -wide - 4
                yield _Box(x, y - 7 + down, wide, 13)


def _path(kind: str, curve: _Curve) -> str:
    return (
        f'<path d="{curve.path}" fill="none" stroke="{_COLOURS[kind]}" '
        f'stroke-width="{2.6 if kind == "cycle" else 1.6}"{_dash(kind)} '
        f'marker-end="url(#m-{kind})"/>'
    )


def _dash(kind: str) -> str:
    return ' stroke-dasharray="4 3"' if kind in _DASHED else ""


def _heading(picture: Picture, width: int) -> list[str]:
    """The title and the note, in as many lines as they need."""
    texts = [("title", one) for one in wrap(picture.title, int((width - 48) / _TITLE))]
    texts += [("note", one) for one in wrap(picture.note, int((width - 48) / _NOTE))]
    return [
        f'<text class="{kind}" x="24" y="{34 + 22 * row}">{escape(text)}</text>'
        for row, (kind, text) in enumerate(texts)
    ]


def _document(width: int, height: int, parts: list[str], title: str) -> str:
    markers = "".join(
        f'<marker id="m-{kind}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="11" '
        f'markerHeight="11" markerUnits="userSpaceOnUse" orient="auto">'
        f'<path d="M0 0 L8 4 L0 8 z" fill="{colour}"/></marker>'
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


def _legend(used: set[str], width: int) -> Iterator[tuple[int, int, str]]:
    """The kinds of lines, each with its x and its row."""
    x, row = 24, 0
    for kind in (kind for kind in _LEGEND if kind in used):
        wide = 60 + int(_NOTE * len(_LEGEND[kind]))
        if x > 24 and x + wide > width:
            x, row = 24, row + 1
        yield x, row, kind
        x += wide


def _legend_item(x: int, y: int, kind: str) -> Iterator[str]:
    yield (
        f'<line x1="{x}" y1="{y}" x2="{x + 26}" y2="{y}" stroke="{_COLOURS[kind]}" '
        f'stroke-width="2.2"{_dash(kind)}/>'
        f'<text class="note" x="{x + 32}" y="{y + 4}">{escape(_LEGEND[kind])}</text>'
    )


def _in_cycle(execution: Execution, cycle: tuple[Edge, ...]) -> set[int]:
    """The events that a cycle goes through."""
    found = {i for edge in cycle for i in (edge.source, edge.target, *edge.through)}
    for edge in cycle:
        found |= {step.target for step in why(execution, edge)}
    return found


def _lines(picture: Picture, execution: Execution) -> Iterator[_Line]:
    """What is drawn between events."""
    drawn: set[tuple[int, int]] = set()
    for edge in picture.cycle:
        reasons = why(execution, edge)
        legs = [(step.source, step.target, named(execution, step)) for step in reasons]
        through = [edge.source, *edge.through, edge.target][1 if reasons else 0 :]
        for number, (a, b) in enumerate(pairwise(through)):
            legs.append((a, b, "" if number else named(execution, edge)))
        for a, b, label in legs:
            if (a, b) not in drawn:
                yield _Line("cycle", a, b, label)
            drawn.add((a, b))
    for a, b in picture.conflicts:
        drawn.add((a, b))
        yield _Line("conflict", a, b, "unordered")
    for r, w in execution.rf.items():
        if w != INITIAL and (w, r) not in drawn:
            yield _Line("rf", w, r, "rf")
            drawn.add((w, r))
        later = execution.from_reads(r)
        if later and (r, later[0]) not in drawn:
            yield _Line("fr", r, later[0], "fr")
            drawn.add((r, later[0]))
    for order in execution.co.values():
        for a, b in pairwise(order):
            yield _Line("co", a, b, "co")
            drawn.add((a, b))
    if not picture.cycle:
        worth = [edge for edge in order_edges(execution) if _worth(execution, edge)]
        for edge in _nearest(worth, execution.thread):
            if (edge.source, edge.target) not in drawn:
                yield _Line("ob", edge.source, edge.target, edge.axiom)


def _nearest(edges: list[Edge], thread: Sequence[int]) -> Iterator[Edge]:
    """The edges that no other edge implies.

    Between threads, each leads from an event to the first event of another thread that it is
    before, and from the last such event.
    """
    for edge in edges:
        if not any(
            other is not edge
            and [thread[i] for i in other[:2]] == [thread[i] for i in edge[:2]]
            and edge.source <= other.source
            and other.target <= edge.target
            for other in edges
        ):
            yield edge


def _worth(execution: Execution, edge: Edge) -> bool:
    """Whether an order is drawn: between threads or two accesses, and not between two CSEs."""
    thread, kinds = execution.thread, {execution.events[i].kind for i in edge[:2]}
    if thread[edge.source] == thread[edge.target]:
        return kinds <= {"R", "W"}
    return kinds != {"CSE"} and "shootdown" not in edge.axiom


def dot(picture: Picture) -> str:
    """The picture as a graph in Graphviz' language: `dot -Tpdf FILE` draws it."""
    execution = picture.execution
    title = f"{picture.title}\n{picture.note}"
    lines = [
        f"digraph {_quoted(picture.title)} {{",
        f'  graph [label={_quoted(title)}, labelloc=t, labeljust=l, bgcolor="white"]',
        '  node [shape=box, style="rounded,filled", fillcolor="white", fontname=monospace]',
        "  edge [fontsize=11]",
    ]
    if execution is not None:
        lines += _clusters(picture, execution)
        for kind, a, b, label in _lines(picture, execution):
            style = ", style=dashed" if kind in _DASHED else ", penwidth=2" * (kind == "cycle")
            lines.append(
                f"  e{a} -> e{b} [label={_quoted(label)}, color={_quoted(_COLOURS[kind])}, "
                f"fontcolor={_quoted(_COLOURS[kind])}, constraint=false{style}]"
            )
    return "\n".join([*lines, "}"]) + "\n"


def _clusters(picture: Picture, execution: Execution) -> Iterator[str]:
    """The events of each thread, in program order from top to bottom."""
    texts = dict(told(picture.words, execution, picture.cycle))
    inside = _in_cycle(execution, picture.cycle)
    for thread, name in enumerate(picture.words.threads):
        own = [i for i in sorted(texts) if execution.thread[i] == thread]
        yield f"  subgraph cluster_{thread} {{"
        yield f'    label={_quoted(name)}; color="#d1d5db"'
        for i in own:
            colour = "cycle" if i in inside else "conflict" if i in picture.wrong else ""
            style = f", color={_quoted(_COLOURS[colour])}" if colour else ""
            yield f"    e{i} [label={_quoted(texts[i])}{style}]"
        for a, b in pairwise(own):
            yield f'    e{a} -> e{b} [color="#d1d5db", arrowhead=none, weight=9]'
        yield "  }"


def _quoted(text: str) -> str:
    """A string of Graphviz' language."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def html(picture: Picture, about: str, text: str) -> str:
    """The picture as an HTML page that needs no other file.

    Args:
        picture: What is drawn.
        about: A sentence on what was asked.
        text: All of it in words.
    """
    title = escape(picture.title)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 1160px; margin: 2em auto; }}
pre {{ font: 13px/1.45 ui-monospace, monospace; overflow-x: auto; }}
svg {{ max-width: 100%; height: auto; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{escape(about)}</p>
{svg(picture)}
<pre>{escape(text)}</pre>
</body>
</html>
"""

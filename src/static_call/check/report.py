"""The verdicts on designs as tables for people and as plain data for programs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from static_call.check.basis import ARCHITECTURE, Basis
from static_call.check.changes import Change, changes, show_change
from static_call.check.checker import Checker
from static_call.check.properties import ROWS, Property
from static_call.check.verdicts import Verdict, check
from static_call.design.design import Design
from static_call.isa.instruction import EDITIONS
from static_call.isa.sets import A64
from static_call.memory_model.cpus import Cpu
from static_call.memory_model.model import Model
from static_call.memory_model.program import DEFAULT, Limits

Verdicts = dict[Change, list[Verdict]]
"""A row of verdicts for each change, one for each property that was asked."""


def judge(
    designs: Sequence[Design], *, two: bool = False, limits: Limits = DEFAULT,
    properties: Sequence[Property] = ROWS, basis: Basis = ARCHITECTURE,
    progress: Callable[[int, int, str], None] = lambda done, total, what: None,
) -> dict[Design, Verdicts]:  # fmt: skip
    """All verdicts on designs.

    Args:
        designs: The designs.
        two: Whether to ask about two changes in a row as well. Where a claim depends on them, they
            are asked about in any case: see `leaves`.
        limits: Bounds on the work.
        properties: What to ask.
        basis: What the answers rest on.
        progress: Called with how many changes are done, how many there are, and the next design.

    Raises:
        StaticCallError: what verdicts.check raises.
    """
    every = {
        design: changes(2) + (changes(3) if two or (design.claims and leaves(design)) else [])
        for design in designs
    }
    total = sum(map(len, every.values()))
    done = 0
    result: dict[Design, Verdicts] = {}
    for design, asked in every.items():
        checker = Checker(limits, basis)
        found = result[design] = {}
        for change in asked:
            progress(done, total, design.name)
            found[change] = check(design, change, properties, checker=checker)
            done += 1
    progress(total, total, "")
    return result


def leaves(design: Design) -> bool:
    """Whether some form of a design leaves a cell as it is.

    What a trampoline holds then depends on more than its form, and one change of a new one does not
    show all of it.
    """
    return any(item.holds(form) is None for item in design.cells for form in design.forms)


def broken_claims(result: dict[Design, Verdicts]) -> Iterator[Verdict]:
    """The verdicts that break a claim.

    Each says that a claimed property does not hold for a change. Where the property could not be
    asked for any change, the verdict on the first change is given.
    """
    for verdicts in result.values():
        for row in verdicts.values():
            yield from (v for v in row if v.holds is False and v.claimed)
        for column in zip(*verdicts.values()):
            if all(v.holds is None for v in column):
                yield from (v for v in column[:1] if v.claimed)


def breaks(verdict: Verdict) -> str:
    """Why a claim does not hold, given a verdict from `broken_claims`."""
    change = show_change(verdict.change)
    claim = f"{verdict.design.name} claims {verdict.name}"
    if verdict.holds is None:
        return f"{claim}, which could be asked of no change. {change}: {verdict.says}"
    return f"{claim}, and {change} breaks it: {verdict.says}"


def assumptions(
    result: dict[Design, Verdicts], limits: Limits, basis: Basis = ARCHITECTURE
) -> dict[str, str]:
    """The assumptions of every answer, each under a word that names it."""
    most = max((len(change) for verdicts in result.values() for change in verdicts), default=2)
    return {
        "changes": "one change of a new trampoline" + (", or two in a row" if most > 2 else ""),
        "threads": "one caller, one updater",
        "lines": "one word in a cache line",
        "loops": f"at most {limits.unroll} rounds of a loop, {limits.steps} instructions",
        "pads": "bti c or paciasp at every function called",
        "stack": "no arguments on the stack where SP is moved before a call",
        "edition": f"cmodx by {A64.cmodx.rule}, {basis.words}",
        "cpu": _machine(basis.cpu),
    }


def matrix(result: dict[Design, Verdicts]) -> list[list[str]]:
    """A table with a row for each design and a column for each property."""
    rows = []
    for design, verdicts in result.items():
        row = [design.name]
        for column in zip(*verdicts.values()):
            asked = [v for v in column if v.holds is not None]
            refused = sum(not v.taken for v in column)
            fails = sum(not v.holds for v in asked)
            claimed = column[0].claimed
            if not asked:
                row.append("-")
            elif fails:
                row.append(f"{'NO' if claimed else 'no'} {fails}/{len(asked)}" + _edition(column))
            else:
                of = f" ({len(asked)} of {len(asked) + refused})" if refused else ""
                row.append(("YES" if claimed else "yes") + of + _edition(column))
        rows.append(row)
    return rows


def _edition(verdicts: Iterable[Verdict]) -> str:
    """The edition of Arm's text that the verdicts are by, if it makes a difference."""
    return next((f" ({v.basis.edition})" for v in verdicts if v.differs), "")


def by_edition(result: dict[Design, Verdicts]) -> list[list[str]]:
    """A table with a row for each design and property that the editions of Arm's text judge
    differently, and a column for each of EDITIONS."""
    rows = []
    for design, verdicts in result.items():
        for column in zip(*verdicts.values()):
            if any(verdict.differs for verdict in column):
                row = [f"{design.name}, {column[0].name}"]
                asked = [verdict.by_edition for verdict in column if verdict.by_edition]
                for edition in EDITIONS:
                    fails = sum(not holds[edition] for holds in asked)
                    row.append(f"no {fails}/{len(asked)}" if fails else "yes")
                rows.append(row)
    return rows


def by_change(verdicts: Verdicts) -> list[list[str]]:
    """A table with a row for each change and a column for each property."""
    words = {True: "yes", False: "no", None: "-"}
    return [
        [show_change(change), *(words[v.holds] + _edition([v]) for v in row)]
        for change, row in verdicts.items()
    ]


def reasons(verdicts: Verdicts) -> Iterator[tuple[str, str, Change, int]]:
    """The failures, each with its property, the first change that has it, and how many have it."""
    for column in zip(*verdicts.values()):
        found: dict[str, list[Change]] = {}
        for verdict in column:
            if verdict.holds is False:
                says = verdict.says + " (by the CPU's erratum alone)" * verdict.erratum
                found.setdefault(says, []).append(verdict.change)
        for says, those in found.items():
            yield column[0].name, says, those[0], len(those)


def not_asked(verdicts: Verdicts) -> Iterator[tuple[str, str, Change, int]]:
    """Why questions were not asked, each with the properties, the first change, and how many."""
    found: dict[tuple[str, ...], tuple[list[str], list[Change]]] = {}
    columns = [*zip(*verdicts.values())]
    for column in columns:
        why: dict[str, list[Change]] = {}
        for verdict in column:
            if verdict.holds is None:
                why.setdefault(verdict.says, []).append(verdict.change)
        for says, those in why.items():
            names, _ = found.setdefault((says, *map(show_change, those)), ([], those))
            names.append(column[0].name)
    for (says, *_), (names, those) in found.items():
        every = len(names) == len(columns)
        yield "all" if every else ", ".join(names), says, those[0], len(those)


def as_data(
    result: dict[Design, Verdicts], limits: Limits = DEFAULT, basis: Basis = ARCHITECTURE
) -> dict[str, object]:
    """The verdicts as `check --json` prints them: docs/checker.md documents the shape."""
    return {
        "edition": basis.edition,
        "cpu": _cpu(basis.cpu),
        "claims_hold": not any(broken_claims(result)),
        "designs": [
            {
                "name": design.name,
                "claims": list(design.claims),
                "changes": [
                    {
                        "change": list(change),
                        "properties": {
                            v.name: {
                                "holds": v.holds,
                                "says": v.says,
                                "fails_with": [show_model(model) for model in v.models],
                                "by_edition": dict(v.by_edition),
                                "by_erratum": v.erratum,
                            }
                            for v in row
                        },
                    }
                    for change, row in verdicts.items()
                ],
            }
            for design, verdicts in result.items()
        ],
        "assumptions": assumptions(result, limits, basis),
    }


def _cpu(cpu: Cpu | None) -> dict[str, object] | None:
    """A CPU of the table as data."""
    if cpu is None:
        return None
    return {
        "name": cpu.name,
        "midr": f"{cpu.midr:#010x}",
        "about": cpu.about,
        "user": [show_model(Model(*one)) for one in cpu.user],
        "kernel": [show_model(Model(*one)) for one in cpu.kernel],
        "errata": [
            {
                "number": one.number,
                "revisions": one.revisions,
                "says": one.says,
                "reading": one.reading,
                "without": sorted(one.without),
                "sources": list(one.sources),
            }
            for one in cpu.errata
        ],
        "sources": list(cpu.sources),
    }


def show_model(model: Model) -> str:
    """A cache type for a person."""
    return f"IDC={int(model.idc)} DIC={int(model.dic)}"


def show_models(models: Iterable[Model], cpu: Cpu | None = None) -> str:
    """Cache types for a person; those of a CPU with who sees them."""
    found = list(models)
    words = "every cache type" if len(found) == 3 else " and ".join(map(show_model, found))
    if cpu is None:
        return words
    if cpu.user == cpu.kernel:
        return f"{words} of {cpu.name}, in user space and in the kernel"
    parts = []
    for model in found:
        types = {"in user space": cpu.user, "in the kernel": cpu.kernel}
        sees = [who for who, those in types.items() if (model.idc, model.dic) in those]
        parts.append(f"{show_model(model)} ({' and '.join(sees)})")
    return f"{' and '.join(parts)} of {cpu.name}"


def _machine(cpu: Cpu | None) -> str:
    """What is assumed of the CPU."""
    if cpu is None:
        return "a CPU without errata"
    return f"{cpu}; asked about: {show_models(cpu.models(), cpu)}"

"""static-call check: what holds of a design under Arm's memory model."""

from __future__ import annotations

import argparse

from static_call.cli.arguments import EDITIONS, Misuse, bounds, edition_option, given_limits
from static_call.cli.output import NO, TROUBLE, Named, Progress, print_json, say, table
from static_call.cli.pictures import Pictures, picture_options

TYPE_CHECKING = False  # as typing has it, whose import would take a tenth of the start-up
if TYPE_CHECKING:
    from static_call.check.basis import Basis

SUMMARY = "check designs under Arm's memory model"
DESCRIPTION = """\
Says for each property whether it holds for every change from one target to
another: "no 4/14" means that it does not hold for 4 of 14 changes. YES and NO
are for properties that the design claims. Without a DESIGN, all that come
with static-call are checked. The exit status is 1 if a claim does not hold.
docs/checker.md explains the properties."""
EXAMPLE = """\
$ static-call check mainline
$ static-call check --explain mainline farA-farB
$ static-call check mainline --litmus questions"""

_VERDICTS = {"yes": "32", "YES": "32", "no": "33", "NO": "1;31"}  # green, green, yellow, red


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the verb takes."""
    parser.add_argument(
        "design", nargs="*", metavar="DESIGN", help="the name of a design, or a file that has one"
    )
    parser.add_argument(
        "--two", action="store_true", help="ask about two changes in a row, too (slower)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--explain", nargs=2, metavar=("DESIGN", "CHANGE"),
        help="say what happens, or what forbids it; CHANGE is written near-far or farA-null-farB",
    )  # fmt: skip
    parser.add_argument(
        "--property", metavar="NAME", help="the property to explain (default: the first that fails)"
    )
    picture_options(parser, "what --explain says")
    parser.add_argument("--litmus", metavar="DIR", help="write the questions as litmus files")
    edition_option(parser)
    parser.add_argument(
        "--cpu", metavar="NAME",
        help="answer for a CPU that is known by name, with its cache types and errata under Linux",
    )  # fmt: skip
    bounds(parser)


def run(options: argparse.Namespace) -> int:
    """Prints verdicts, explains one, or writes the questions as litmus files."""
    from textwrap import fill

    from static_call.check import report
    from static_call.design import notation
    from static_call.design.text import PROPERTIES

    if options.explain:
        return _explain(options)
    given = (options.svg, options.dot, options.html, options.property)
    if any(one is not None for one in given):
        raise Misuse("--svg, --dot, --html and --property go with --explain")
    if options.litmus is not None and (options.json or options.two):
        raise Misuse("--litmus writes files about single changes: no --json or --two with it")
    designs = [notation.load(name) for name in options.design or notation.shipped()]
    limits, basis = given_limits(options), _basis(options)
    if options.litmus is not None:
        if options.cpu is not None:
            raise Misuse("--litmus writes questions, which name no CPU: leave --cpu out")
        from static_call.check import export

        with Named(options.litmus):
            written, problems = export.write(designs, options.litmus, limits)
        print(f"{options.litmus}: {written} files")
        for problem in problems:
            say(f"no litmus file for {problem}")
        return TROUBLE if problems else 0
    with Progress() as progress:
        result = report.judge(
            designs, two=options.two, limits=limits, basis=basis, progress=progress
        )
    broken = list(report.broken_claims(result))
    if options.json:
        print_json(report.as_data(result, limits, basis))
        return NO if broken else 0
    head = ["design", *PROPERTIES]
    table(report.matrix(result), head, _VERDICTS)
    for design in designs if options.design else []:
        print(f"\n{design.name}")
        table(report.by_change(result[design]), ["change", *PROPERTIES], _VERDICTS)
        for head, why in (
            (["not", "since, for one", "times", "such as"], report.reasons(result[design])),
            (["not asked", "since", "times", "such as"], report.not_asked(result[design])),
        ):
            rows = [
                [name, says, count, "-".join(goal.replace(" ", "") for goal in change)]
                for name, says, change, count in why
            ]
            if rows:
                print()
                table(rows, head)
    if not options.design:
        print("\nYES, NO: the design claims it. no N/M: it does not hold for N of M changes;")
        print("static-call check DESIGN lists them.")
    if differ := report.by_edition(result):
        print(f"\n({basis.edition}): by {basis.words}. The editions of Arm's text differ:\n")
        table(differ, ["by edition", *EDITIONS], _VERDICTS)
    print()
    print(fill(f"Assumed: {'; '.join(report.assumptions(result, limits, basis).values())}.", 96))
    for verdict in broken[:1]:
        say(report.breaks(verdict))
    return NO if broken else 0


def _basis(options: argparse.Namespace) -> Basis:
    """What the answers rest on. Raises UnknownCpu."""
    from static_call.check.basis import Basis
    from static_call.memory_model import cpus

    cpu = None if options.cpu is None else cpus.named(options.cpu)
    return Basis(options.edition, cpu)


def _explain(options: argparse.Namespace) -> int:
    from static_call.check import changes, story
    from static_call.design import notation
    from static_call.design.text import PROPERTIES

    if options.design or options.json or options.litmus is not None or options.two:
        raise Misuse("--explain tells of one design: no other, --json, --litmus or --two with it")
    if options.property is not None and options.property not in PROPERTIES:
        raise Misuse(f"{options.property!r} is none of {', '.join(PROPERTIES)}")
    pictures = Pictures(options, options.explain[:1])
    design = notation.load(options.explain[0])
    change = changes.parse_change(options.explain[1])
    told = story.tell(design, change, options.property, given_limits(options), _basis(options))
    if pictures:
        pictures.write(told)
    print(told.text)
    return NO if told.verdict.holds is False and told.verdict.claimed else 0

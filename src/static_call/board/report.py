"""Reads what boards printed, and says what it means.

A report is text from elsewhere. It is refused unless it is whole, its parts fit together, and its
questions are the ones that this version asks. That finds damage and mistakes; nothing can find a
forgery that was made with care.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from static_call.board.errata import affecting
from static_call.board.programs import Row
from static_call.errors import StaticCallError
from static_call.memory_model.litmus import Result, run
from static_call.memory_model.litmus_format import Condition, Equal, Location, Logic
from static_call.memory_model.model import Model
from static_call.memory_model.program import DEFAULT, Limits

FORMAT = 1
"""Of the reports that are read."""

MACHINES = ("hardware", "unknown", "emulated")
"""What a report says about where it ran."""

VIRTUAL = (
    "QEMU", "linux,dummy-virt", "gem5", "arm,fvp", "arm,foundation", "ARM,FVP", "arm,vexpress",
    "ARM Ltd",
)  # fmt: skip
"""How the names that firmware gives to emulators and virtual machines start: as in main.c."""

_MOST = 1 << 64


class BadReport(StaticCallError):
    """A report cannot be read, or does not fit together. The message starts with its file."""


class Cpu(NamedTuple):
    """A CPU.

    Attributes:
        number: Linux's number for it.
        midr: MIDR_EL1 as Linux shows it in /sys; 0 where it does not.
        mrs: MIDR_EL1 as an MRS in a program reads it; 0 where Linux does not allow that.
        ctr: CTR_EL0 as a program reads it. Linux may show less than the CPU has.
    """

    number: int
    midr: int
    mrs: int
    ctr: int

    @property
    def identity(self) -> int:
        """MIDR_EL1, or 0."""
        return self.midr or self.mrs


class Figure(NamedTuple):
    """What a call or an update takes.

    Attributes:
        error: 0, or the error that it failed with.
        values: The median, lowest and highest by unit: ns, cycles, instructions.
    """

    error: int
    values: Mapping[str, tuple[float, float, float]]


class Outcomes(NamedTuple):
    """How a question's runs ended.

    Attributes:
        digest: Of the question: see programs.Row.
        failed: Why it was not asked to the end, or "".
        runs: How often it was run.
        counts: How often each outcome was seen, by the values of what the question watches.
    """

    digest: str
    failed: str
    runs: int
    counts: Mapping[tuple[int, ...], int]


class Report(NamedTuple):
    """A board's report.

    Attributes:
        file: Where it was read.
        made_by: The version that wrote the program.
        machine: One of MACHINES. "emulated": an emulator, which has no caches or none like a CPU's.
            "unknown": it may be one.
        kernel: Linux's release.
        page: Bytes in a page.
        cpus: The CPUs.
        figures: What calls and updates take, by name.
        questions: The outcomes, by the questions' names.
        sum: The sum at the report's end.
    """

    file: str
    made_by: str
    machine: str
    kernel: str
    page: int
    cpus: tuple[Cpu, ...]
    figures: Mapping[str, Figure]
    questions: Mapping[str, Outcomes]
    sum: str

    @property
    def model(self) -> Model:
        """The model for its CPUs: with IDC or DIC only where all have it."""
        idc = all(cpu.ctr >> 28 & 1 for cpu in self.cpus)
        dic = all(cpu.ctr >> 29 & 1 for cpu in self.cpus)
        return Model(idc=idc, dic=dic and idc)

    @property
    def errata(self) -> list[str]:
        """The numbers of its CPUs' errata."""
        return sorted({number for cpu in self.cpus for number in affecting(cpu.identity)})


def parse(text: str, file: str) -> Report:
    """A report, from its text.

    Args:
        text: What the program printed.
        file: What errors call it.

    Raises:
        BadReport: it is not a report, or not a whole one, or its parts do not fit together.
    """
    try:
        return _Parser(file).report(text)
    except RecursionError:
        raise BadReport(f"{file}: not a board's report: it is nested too deeply") from None


class _Parser:
    def __init__(self, file: str) -> None:
        self.file = file

    def fail(self, why: str) -> BadReport:
        return BadReport(f"{self.file}: {why}")

    def report(self, text: str) -> Report:
        try:
            data = json.loads(text, object_pairs_hook=self.members, parse_constant=self.constant)
        except json.JSONDecodeError as error:
            raise self.fail(f"not a board's report, or not a whole one: {error}") from None
        except ValueError:  # a number with thousands of digits
            raise self.fail("not a board's report: a number that is too long") from None
        if not isinstance(data, dict) or data.get("static-call board") != FORMAT:
            raise self.fail("not a report of `board`, or of another version's")
        self.check_sum(text, data)
        names = (
            "static-call board", "made by", "kernel", "architecture", "compiler", "page", "hwcap",
            "cpus", "firmware", "cpuinfo", "machine", "figures", "questions", "seconds", "sum",
        )  # fmt: skip
        self.has(data, names, "the report")
        cpus = tuple(map(self.cpu, self.some(data["cpus"], "cpus")))
        if len({cpu.number for cpu in cpus}) != len(cpus):
            raise self.fail("it has a CPU twice")
        report = Report(
            self.file, self.text(data["made by"]), self.machine(data, cpus),
            self.text(data["kernel"]), self.number(data["page"], "page"), cpus,
            {name: self.figure(name, one) for name, one in self.object(data["figures"]).items()},
            self.questions(data["questions"]), data["sum"],
        )  # fmt: skip
        if data["architecture"] != "aarch64" or report.page not in (4096, 16384, 65536):
            raise self.fail("no arm64 Linux is like that: see architecture and page")
        return report

    def members(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise self.fail("a name is there twice in one object")
        return found

    def constant(self, name: str) -> Any:
        raise self.fail(f"{name} is not a number")

    def check_sum(self, text: str, data: Mapping[str, Any]) -> None:
        """Compares the FNV-1a sum of all before it, white space left out."""
        match = re.search(r',\s*"sum"\s*:\s*"([0-9a-f]{16})"\s*\}\s*$', text)
        if match is None:
            raise self.fail("its end is missing: there is no sum")
        total = 0xCBF29CE484222325
        for byte in re.sub(r"\s", "", text[: match.start()]).encode():
            total = (total ^ byte) * 0x100000001B3 % _MOST
        if match[1] != f"{total:016x}" or data.get("sum") != match[1]:
            raise self.fail("it was changed, or damaged on its way: its sum is wrong")

    def machine(self, data: Mapping[str, Any], cpus: Sequence[Cpu]) -> str:
        """Where it ran: never more than its evidence allows."""
        firmware = [self.text(one) for one in self.some(data["firmware"], "firmware")]
        says = data["machine"]
        if says not in MACHINES:
            raise self.fail("its machine is none of " + ", ".join(MACHINES))
        known = all(cpu.midr and cpu.mrs for cpu in cpus)
        differ = any(cpu.midr and cpu.mrs and cpu.midr != cpu.mrs for cpu in cpus)
        software = any(cpu.identity and not cpu.identity >> 24 & 0xFF for cpu in cpus)
        emulated = differ or software or not self.text(data["cpuinfo"])
        if emulated != (says == "emulated"):
            raise self.fail(f"it says {says}, and its own evidence says otherwise")
        virtual = any(name.startswith(VIRTUAL) for name in firmware) or any(firmware[3:])
        if says == "hardware" and (virtual or not (known and any(firmware))):
            raise self.fail("it says hardware, and its own evidence does not")
        return str(says)

    def cpu(self, data: Any) -> Cpu:
        data = self.has(data, ("cpu", "midr", "mrs", "ctr", "errata"), "a CPU")
        midr, mrs, ctr = (self.hex(data[name]) for name in ("midr", "mrs", "ctr"))
        found = Cpu(self.number(data["cpu"], "cpu"), midr, mrs, ctr)
        if data["errata"] != affecting(found.identity):
            raise self.fail(f"CPU {found.number} has other errata than it says")
        return found

    def figure(self, name: str, data: Any) -> Figure:
        data = self.object(data)
        values: dict[str, tuple[float, float, float]] = {}
        for unit in ("ns", "cycles", "instructions"):
            if unit in data:
                three = data[unit]
                fine = isinstance(three, list) and len(three) == 3
                if not fine or not all(type(one) in (int, float) and one < _MOST for one in three):
                    raise self.fail(f"{name}: expected three numbers of {unit}")
                middle, low, high = map(float, three)
                if not 0 <= low <= middle <= high:
                    raise self.fail(f"{name}: its {unit} are not a median, the lowest and highest")
                values[unit] = middle, low, high
        error = data.get("error")
        if (
            type(error) is not int
            or bool(error) == bool(values)
            or data.keys() - {*values, "error"}
        ):
            raise self.fail(f"{name}: it has figures and an error, or neither")
        return Figure(error, values)

    def questions(self, data: Any) -> dict[str, Outcomes]:
        found: dict[str, Outcomes] = {}
        for one in self.some(data, "questions"):
            one = self.has(one, ("name", "digest", "failed", "runs", "outcomes"), "a question")
            name, runs = self.text(one["name"]), self.number(one["runs"], "runs")
            if name in found:
                raise self.fail(f"{name} is there twice")
            counts: dict[tuple[int, ...], int] = {}
            outcomes = one["outcomes"]
            if not isinstance(outcomes, list):
                raise self.fail(f"{name}: expected outcomes")
            for outcome in outcomes:
                count, *values = (self.number(n, name) for n in self.some(outcome, name))
                if not count or tuple(values) in counts:
                    raise self.fail(f"{name}: an outcome that is there twice or was never seen")
                counts[tuple(values)] = count
            failed = self.text(one["failed"])
            if sum(counts.values()) != runs and not (failed and sum(counts.values()) < runs):
                raise self.fail(f"{name}: its outcomes are not as many as its runs")
            if not runs and not failed:
                raise self.fail(f"{name}: it was not run")
            found[name] = Outcomes(self.text(one["digest"]), failed, runs, counts)
        return found

    # Kinds of values

    def object(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            raise self.fail("expected an object")
        return data

    def has(self, data: Any, names: Sequence[str], what: str) -> dict[str, Any]:
        if not isinstance(data, dict) or data.keys() != set(names):
            raise self.fail(f"{what} does not have what it must")
        return data

    def some(self, data: Any, what: str) -> list[Any]:
        if not isinstance(data, list) or not data:
            raise self.fail(f"{what}: expected a list with something in it")
        return data

    def number(self, data: Any, what: str) -> int:
        if type(data) is not int or not 0 <= data < _MOST:
            raise self.fail(f"{what}: expected a number")
        return data

    def text(self, data: Any) -> str:
        if not isinstance(data, str) or len(data) > 1000 or not data.isprintable():
            raise self.fail("expected a short text")
        return data

    def hex(self, data: Any) -> int:
        if not isinstance(data, str) or not re.fullmatch(r"0|0x[0-9a-f]{1,16}", data):
            raise self.fail("expected a register's value, in hexadecimal")
        return int(data, 16)


class Judged(NamedTuple):
    """One question, held against the model.

    Attributes:
        row: The question.
        forbidden: The outcomes that were seen and that the model forbids, and how often.
        unseen: The outcomes that the model allows and that were not seen.
        seen: How many runs ended in an allowed outcome.
        left: How many runs `filter` leaves out.
    """

    row: Row
    forbidden: Mapping[str, int]
    unseen: tuple[str, ...]
    seen: int
    left: int


def judge(report: Report, rows: Sequence[Row], limits: Limits = DEFAULT) -> list[Judged]:
    """Holds a report's outcomes against the model.

    Args:
        report: The report.
        rows: The questions of this version, those of the report's designs among them.
        limits: Bounds on the work.

    Raises:
        BadReport: a question is not one of these, or not the same.
        TooBig: a bound was exceeded.
    """
    known = {row.test.name: row for row in rows}
    judged: list[Judged] = []
    for name, outcomes in report.questions.items():
        row = known.get(name)
        if row is None or row.digest != outcomes.digest:
            raise BadReport(
                f"{report.file}: {name} is not the question that this version asks: read it with "
                f"{report.made_by}, and with the same designs"
            )
        judged.append(_judge(report, row, outcomes, limits))
    return judged


def _judge(report: Report, row: Row, outcomes: Outcomes, limits: Limits) -> Judged:
    result = run(row.test, report.model, limits)
    allowed = set(result.states)
    forbidden: dict[str, int] = {}
    seen: set[str] = set()
    good = left = 0
    for values, count in outcomes.counts.items():
        if len(values) != len(row.watched):
            raise BadReport(f"{report.file}: {row.test.name}: an outcome of another length")
        held = dict(zip(row.watched, values))
        if not _holds(row.test.only, held):
            left += count
            continue
        state = _state(row, held, result)
        seen.add(state)
        if state in allowed:
            good += count
        else:
            forbidden[state] = forbidden.get(state, 0) + count
    return Judged(row, forbidden, tuple(sorted(allowed - seen)), good, left)


def _state(row: Row, held: Mapping[Location, int], result: Result) -> str:
    """A final state, as herd7 and `litmus` print it."""
    names = {variable.address: variable.name for variable in row.test.variables.values()}
    names |= {at: f'label:"{label}"' for label, at in reversed(tuple(row.test.labels.items()))}
    parts = [f"{to}={names.get(held[to], str(held[to]))};" for to in row.test.observed]
    return " ".join(parts)


def _holds(condition: Condition, held: Mapping[Location, int]) -> bool:
    if isinstance(condition, Equal):
        is_, value = held[condition.location], condition.value
        # A negative number means itself in 32 bits as well.
        return is_ == value or (value >> 32 == 0xFFFFFFFF and is_ == value & 0xFFFFFFFF)
    assert isinstance(condition, Logic)  # a test that asks for a fault is not run
    parts = [_holds(part, held) for part in condition.parts]
    if condition.operator == "not":
        return not parts[0]
    return all(parts) if condition.operator == "and" else any(parts)

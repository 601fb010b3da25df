"""`static-call board`: the folder builds, runs in bounded time, and its report reads back.

Expected outcomes of questions are what herd7 7.58 says about the same files (`-variant ifetch`).
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import arm64_linux
import guest
import pytest
from test_c_runtime import check_musl
from toolchain import CLANG, GCC, MUSL, Compiler, missing, need, run

from static_call.board.folder import Asked, check_defined, questions, write
from static_call.board.programs import NotRunnable, row
from static_call.board.report import BadReport, judge, parse
from static_call.cli.main import main
from static_call.design import notation
from static_call.isa.a64_more import decode
from static_call.memory_model.litmus_reader import read
from static_call.memory_model.program import DEFAULT

WARNINGS = "-O2 -Wall -Wextra -Werror -static"
HERD7 = {
    "mainline+fresh+farA-farB": {"1:X9=2;", "1:X9=3;", "1:X9=99;"},
    "mainline+live+farA-farB": {"1:X9=2;", "1:X9=3;"},
}
"""The final states of two files, by herd7."""

Data = dict[str, Any]


@pytest.fixture(scope="module")
def asked() -> Asked:
    """The questions on mainline: few, and one of them has a surprising answer."""
    return questions([notation.load("mainline")])


@pytest.fixture(scope="module")
def folder(asked: Asked, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that is written for them."""
    path = tmp_path_factory.mktemp("board") / "folder"
    write(asked, "static-call 0", str(path))
    return path


@pytest.fixture(scope="module")
def report(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What its program prints under user-mode emulation."""
    program = build(GCC, shutil.copytree(folder, tmp_path_factory.mktemp("built") / "x"))
    return emulated(program, "3")


def build(compiler: Compiler, path: Path) -> Path:
    """Builds a folder, all warnings errors. Returns the program."""
    need("make", *compiler.needs)
    run("make", "-C", path, f"CC={' '.join(compiler.cc)}", f"CFLAGS={WARNINGS}")
    return path / "board"


def emulated(program: Path, seconds: str) -> str:
    """Runs the program by QEMU 10: older ones miss code that is written by another address."""
    try:
        command = [*arm64_linux.qemu("qemu-aarch64"), "-cpu", "max"]
    except arm64_linux.Unavailable as error:
        missing("an arm64 environment", str(error))
    return run(*command, program, seconds, timeout=120).stdout


def with_sum(data: Data) -> str:
    """A report as text, its sum right: FNV-1a of 64 bits, as its authors define it."""
    text = json.dumps({name: value for name, value in data.items() if name != "sum"})[:-1]
    total = 14695981039346656037
    for byte in text.replace(" ", "").encode():
        total = ((total ^ byte) * 1099511628211) & 0xFFFF_FFFF_FFFF_FFFF
    return f'{text}, "sum": "{total:016x}"}}\n'


# The folder


@pytest.mark.parametrize("compiler", [GCC, CLANG, MUSL], ids=str)
def test_it_builds_everywhere(compiler: Compiler, folder: Path, tmp_path: Path) -> None:
    """By gcc and clang, with glibc and musl, without a warning; make and the script do the same."""
    if compiler is MUSL:
        check_musl()
    path = shutil.copytree(folder, tmp_path / "x")
    build(compiler, path).unlink()
    run("env", f"CC={' '.join(compiler.cc)}", f"CFLAGS={WARNINGS}", "sh", path / "build.sh")
    assert (path / "board").stat().st_size


def test_it_builds_with_landing_pads(folder: Path, tmp_path: Path) -> None:
    """The program has what a CPU with FEAT_BTI demands, and runs."""
    path = shutil.copytree(folder, tmp_path / "x")
    need("make", *GCC.needs)
    flags = f"CFLAGS={WARNINGS} -mbranch-protection=standard"
    run("make", "-C", path, f"CC={GCC.cc[0]}", flags)
    assert parse(emulated(path / "board", "1"), "x").questions


def test_the_verb_writes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The folder has the questions as litmus files, too; one that has files in it is left alone."""
    assert main(["board", str(tmp_path / "x"), "--design", "mainline"]) == 0
    assert "6 questions" in capsys.readouterr().out
    names = {path.stem for path in (tmp_path / "x" / "litmus").iterdir()}
    assert names > HERD7.keys()
    assert main(["board", str(tmp_path / "x"), "--design", "mainline"]) == 2
    assert capsys.readouterr().err == f"static-call: {tmp_path}/x is not empty\n"


def test_a_folder_that_would_be_harmed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An empty name is not the current folder, and a file is not a folder. Nothing is written."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to("nowhere")
    for name, says in (
        ("", "needs a name"),
        ("file", "not a folder"),
        ("link", "not a folder"),
        (".", "not empty"),
    ):
        assert main(["board", name]) == 2
        assert says in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 2


def test_what_arm_does_not_define_is_not_run() -> None:
    """A slot that holds a RET is off the list of B2.2.5: herd7 flags each change of it."""
    found = questions([notation.load("slot-inline-literal")])
    assert found.left["it modifies code in a way that Arm does not define"]
    assert not any(re.search(r"\+live\+\w+-null", one.test.name) for one in found.rows)


UDF = """
        .align  2
slot:   { near, far: b target | null: udf #1 }
retarget:
        str     w1, [x0]
        dc      cvau, x0
        dsb     ish
        ic      ivau, x0
        dsb     ish
        cse
"""


def test_what_older_editions_do_not_define_is_not_run_either() -> None:
    """UDF is on the list of B2.2.5 since issue M.a, and a board may be older. herd7 7.58 has the
    oldest list, and flags 22 of the files that check --litmus writes, without their filters."""
    found = questions([notation.read(UDF, "udf.s", "udf")])
    assert found.left == {"it modifies code in a way that Arm did not define in older editions": 22}
    assert not any("null" in one.test.name for one in found.rows)


FILTERED = """AArch64 filtered
{ 0:X0=P1:L0; 0:X1=instr:"RET"; }
 P0          | P1           ;
 STR W1,[X0] | NOP          ;
             | L0: NOP      ;
             | MOV W9,#1    ;
             | L1: MOV W8,#1;
filter (1:X8=2)
exists (1:X8=1)
"""


def test_what_a_filter_leaves_out_must_be_defined_too() -> None:
    """A board runs it: only afterwards it is known that the filter does not want it."""
    with pytest.raises(NotRunnable, match="Arm does not define"):
        check_defined(read(FILTERED), DEFAULT)
    check_defined(read(FILTERED.replace('"RET"', '"B .+4"')), DEFAULT)


@pytest.mark.parametrize("seconds", ["x", "0", "-1", "1e9", "nan"])
def test_seconds_have_bounds(seconds: str, folder: Path, tmp_path: Path) -> None:
    """The program runs for at most a day."""
    program = build(GCC, shutil.copytree(folder, tmp_path / "x"))
    need("qemu-aarch64")
    done = run("qemu-aarch64", program, seconds, ok=False, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")


# What runs is the test

WAITING = """AArch64 waiting
{ uint32_t flag=0; uint32_t asked=0; 0:X0=label:"P1:L0"; 0:X1=instr:"NOP"; 0:X3=flag; 0:X4=1;
  1:X3=flag; 1:X5=asked; }
 P0           | P1             ;
 STR W1,[X0]  | LDR W6,[X5]    ;
 DC CVAU,X0   | LDR W2,[X3]    ;
 DSB ISH      | CBZ W2,Lnone   ;
 IC IVAU,X0   | ISB            ;
 DSB ISH      | L0:            ;
 STR W4,[X3]  | B Lnone        ;
              | MOV W9,#1      ;
              | Lnone:         ;
exists (1:X2=1 /\\ 1:X9=0)
"""


def test_the_words_of_a_test() -> None:
    """Stores to code and DCs go by the writable address, the IC by the one that is executed; a load
    that a CBZ tests waits, and another one does not. The rest is the test's own, in its order."""
    found = row(read(WAITING, "waiting"))
    first, second = (
        [str(decode(word, 4 * i)) for i, word in enumerate(thread.words)]
        for thread in found.threads
    )
    assert first == [
        "ldr x30, [sp, #0x68]",
        "str w1, [x29]", "dc cvau, x29", "dsb ish", "ic ivau, x0", "dsb ish", "str w4, [x3]",
        "str x30, [sp, #0x68]", "ldr x30, [sp, #0x70]", "br x30",
    ]  # fmt: skip
    code = dict(found.threads[0].registers)
    assert [code[n][:2] for n in (0, 29)] == [("CODE", 1), ("ALIAS", 1)]
    assert code[0].number == code[29].number == 4 + 4 * 4  # after the first word
    assert second[:7] == [
        "ldr x30, [sp, #0x68]",
        "ldr w6, [x5]", "b 0x28", "cbz w2, 0x1c", "isb", "b 0x1c", "movz w9, #0x1",
    ]  # fmt: skip
    assert second[7:10] == [
        "str x30, [sp, #0x68]", "ldr x30, [sp, #0x70]", "br x30",
    ]  # fmt: skip
    assert second[10:] == [
        "ldr w2, [x3]", "cbnz w2, 0xc", "cbz x29, 0xc", "sub x29, x29, #0x1", "b 0x28",
    ]  # fmt: skip
    assert dict(found.threads[1].registers)[29].kind == "WAITS"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("STR W4,[X3]", "SVC #0"), "not among the instructions"),
        (("STR W4,[X3]", "LDXR W4,[X3]"), "not among the instructions"),
        (("0:X4=1;", "0:X4=1; 0:SP=flag;"), "SP, which the program needs"),
        (("STR W1,[X0]", "ADD X7,X0,#0 ; | ; STR W1,[X7]"), "is computed"),
        (("exists (", "exists (0:X1=instr:\"NOP\" /\\ "), "shown as an instruction"),
    ],
)  # fmt: skip
def test_what_a_board_cannot_run_is_refused(change: tuple[str, str], why: str) -> None:
    """Each in one line that says why, when the folder is written."""
    with pytest.raises(NotRunnable, match=f"waiting: .*{why}"):
        row(read(WAITING.replace(*change), "waiting"))


# Reports


def test_a_report_reads_back(asked: Asked, report: str) -> None:
    """Of an emulator: it says so, no outcome is one that herd7 forbids, and each is counted."""
    found = parse(report, "x")
    assert found.machine == "emulated"
    assert set(found.questions) == {one.test.name for one in asked.rows}
    assert not any(one.failed for one in found.questions.values())
    assert "near call" in found.figures
    for one in judge(found, asked.rows):
        name = one.row.test.name
        assert not one.forbidden
        assert one.seen + one.left == found.questions[name].runs > 0
        if states := HERD7.get(name):
            seen = {f"1:X9={values[0]};" for values in found.questions[name].counts}
            assert seen <= states
            assert set(one.unseen) == states - seen


def test_the_verb_reads_it(report: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The tables and --json say that this is an emulator; so is each figure's column."""
    (tmp_path / "x").write_text(report)
    assert main(["board", "--read", str(tmp_path / "x")]) == 0
    out = capsys.readouterr().out
    assert f"{tmp_path}/x, emulated: ns" in out
    assert "no evidence of what a CPU does" in out
    assert main(["board", "--read", str(tmp_path / "x"), "--json"]) == 0
    (data,) = json.loads(capsys.readouterr().out)
    assert data["machine"] == "emulated"
    assert [one for one in data["questions"] if one["forbidden"]] == []


def test_a_report_without_an_end_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """It does not fill the memory."""
    assert main(["board", "--read", "/dev/zero"]) == 2
    assert capsys.readouterr().err == (
        "static-call: /dev/zero: not a board's report: it is too long\n"
    )


def test_a_forbidden_outcome_is_found(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A program that does something else than its question: a call reaches neither target. Its
    report is whole, and reading it fails loudly."""
    path = shutil.copytree(folder, tmp_path / "x")
    text = (path / "table.c").read_text()
    start = text.index("/* mainline+live+farA-farB */")
    end = text.index("/* mainline", start + 1)
    planted = text[start:end].replace("0x52800069", "0x52800089")  # mov w9, #3 -> #4
    assert planted != text[start:end]
    (path / "table.c").write_text(text[:start] + planted + text[end:])
    (tmp_path / "report").write_text(emulated(build(GCC, path), "3"))
    assert main(["board", "--read", str(tmp_path / "report")]) == 1
    said = capsys.readouterr()
    assert re.fullmatch(
        rf"static-call: FORBIDDEN: {tmp_path}/report \(emulated\): mainline\+live\+farA-farB: "
        r"1:X9=4; \(\d+ times\)\n",
        said.err,
    )


def broken(change: Callable[[Data], object]) -> Callable[[str], str]:
    """A report with a change, its sum right."""

    def text(report: str) -> str:
        data = json.loads(report)
        change(data)
        return with_sum(data)

    return text


BAD: dict[str, Callable[[str], str]] = {
    "empty": lambda text: "",
    "cut": lambda text: text[: len(text) // 2],
    "two": lambda text: text + text,
    "not a report": lambda text: "[1, 2]",
    "deep": lambda text: "[" * 100000,
    "long": lambda text: text.replace('"page": 4', '"page": ' + "4" * 10000),
    "nan": lambda text: text.replace('"page": 4', '"page": NaN, "x": 4'),
    "a count": lambda text: re.sub(r'"runs": (\d+)', r'"runs": 1\1', text, count=1),
    "twice": lambda text: text.replace('"kernel":', '"kernel": "x", "kernel":'),
    "format": broken(lambda data: data.update({"static-call board": 2})),
    "sum of runs": broken(lambda data: data["questions"][0].update(runs=1 << 40)),
    "no questions": broken(lambda data: data["questions"].clear()),
    "a question twice": broken(lambda data: data["questions"].append(data["questions"][0])),
    "another question": broken(lambda data: data["questions"][0].update(digest="0" * 16)),
    "an unknown question": broken(lambda data: data["questions"][0].update(name="mainline+x")),
    "an unknown design": broken(lambda data: data["questions"][0].update(name="own+live+x")),
    "negative": broken(lambda data: data["questions"][0].update(outcomes=[[-1, 2]])),
    "short outcome": broken(lambda data: data["questions"][0].update(outcomes=[[1]], runs=1)),
    "true": broken(lambda data: data["questions"][0].update(outcomes=[[True, 2]], runs=1)),
    "huge": broken(lambda data: data["questions"][0].update(outcomes=[[1, 1 << 64]], runs=1)),
    "hardware": broken(lambda data: data.update(machine="hardware")),
    "unknown": broken(lambda data: data.update(machine="unknown")),
    "no evidence": broken(
        lambda data: data.update(machine="hardware", cpuinfo="CPU implementer : 0x41",
                                 cpus=[data["cpus"][0] | {"midr": "0", "mrs": "0"}])
    ),
    "errata": broken(lambda data: data["cpus"][0].update(errata=["1542419"])),
    "hidden errata": broken(lambda data: data["cpus"][0].update(midr="0x413fd0c1")),
    "no CPU": broken(lambda data: data["cpus"].clear()),
    "a CPU twice": broken(lambda data: data["cpus"].append(data["cpus"][0])),
    "page": broken(lambda data: data.update(page=1)),
    "x86": broken(lambda data: data.update(architecture="x86_64")),
    "more": broken(lambda data: data.update(more=1)),
    "figures": broken(lambda data: data["figures"]["loop"].update(ns=[3, 2, 1])),
    "escape": broken(lambda data: data.update(kernel="\x1b[2J")),
}  # fmt: skip
"""Reports that are damaged, mixed up or made up."""


@pytest.mark.parametrize("name", BAD)
def test_a_bad_report_is_refused(
    name: str, report: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line that names the file or the question, with exit status 2."""
    (tmp_path / "x").write_text(BAD[name](report))
    assert main(["board", "--read", str(tmp_path / "x")]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "an error of static-call itself" not in said.err
    assert str(tmp_path / "x") in said.err or "own is not a shipped design" in said.err


def test_the_same_report_twice_is_refused(
    report: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would count twice. White space changed on its way is no other report."""
    (tmp_path / "x").write_text(report)
    (tmp_path / "y").write_text(report.replace("], ", "],\n   "))
    assert main(["board", "--read", str(tmp_path / "x"), str(tmp_path / "y")]) == 2
    assert "the same report as" in capsys.readouterr().err


def test_every_changed_byte_is_noticed(report: str) -> None:
    """A report is refused, or, where only its white space changed, read as the same."""
    whole = parse(report, "x")
    for at in range(0, len(report), 37):
        for byte in '0x\n"':
            if report[at] != byte:
                try:
                    assert parse(report[:at] + byte + report[at + 1 :], "x") == whole
                except BadReport:
                    continue


def test_hardware_and_big_little(report: str) -> None:
    """Of CPUs that differ, the model has the cache type that all have; each erratum is named."""
    data = json.loads(report)
    cpu = {"midr": "0x413fd0c1", "mrs": "0x413fd0c1", "ctr": "0xb444c004", "errata": ["1542419"]}
    other = {"midr": "0x410fd0b0", "mrs": "0x410fd0b0", "ctr": "0x9444c004", "errata": []}
    data["cpus"] = [{"cpu": 0, **cpu}, {"cpu": 4, **other}]
    data.update(cpuinfo="CPU implementer\t: 0x41".replace("\t", " "), machine="hardware",
                firmware=["Vendor", "", "", ""])  # fmt: skip
    found = parse(with_sum(data), "x")
    assert found.machine == "hardware"
    assert (found.model.idc, found.model.dic) == (True, False)
    assert found.errata == ["1542419"]
    data["cpus"] = data["cpus"][:1]
    assert parse(with_sum(data), "x").model.dic
    for names in (["QEMU", "", "", ""], ["", "", "linux,dummy-virt", ""], ["A", "", "", "xen,xen"]):
        data["firmware"] = names
        with pytest.raises(BadReport, match="its own evidence does not"):
            parse(with_sum(data), "x")


def test_in_a_guest(asked: Asked, folder: Path, tmp_path: Path) -> None:
    """With a real kernel, which shows each CPU's MIDR, here a real one's: the program says that it
    does not know what it is, and not that it is hardware."""
    program = build(GCC, shutil.copytree(folder, tmp_path / "x"))
    try:
        console = arm64_linux.in_guest("/board 4 2>/dev/null", {"/board": program}, tmp_path,
                                       parallel=True, cpu="neoverse-n1")  # fmt: skip
    except arm64_linux.Unavailable as error:
        missing("an arm64 environment", str(error))
    except guest.GuestError as error:
        pytest.fail(str(error), pytrace=False)
    found = parse(console[console.index("{") :], "x")
    assert found.machine == "unknown"
    assert len(found.cpus) == 2
    assert all(one.midr == one.mrs == 0x414FD0C1 for one in found.cpus)
    assert found.errata == ["1542419"]
    assert not any(one.forbidden for one in judge(found, asked.rows))
    assert not any(one.failed for one in found.questions.values())

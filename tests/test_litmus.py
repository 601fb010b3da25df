"""Litmus files: what is read, how it is reported, what is refused, what is written."""

from __future__ import annotations

import io
from pathlib import Path

import litmus_tests
import pytest

from static_call.cli import main as cli
from static_call.cli.output import Progress
from static_call.cli.verbs.litmus import run_files
from static_call.isa.a64_more import assemble
from static_call.memory_model.litmus import run
from static_call.memory_model.litmus_format import LitmusError, Test, Variable, show_instruction
from static_call.memory_model.litmus_reader import read
from static_call.memory_model.litmus_writer import NotExpressible, write
from static_call.memory_model.model import CACHE_TYPES, Model
from static_call.memory_model.program import Limits, Program, Thread

MP = r"""AArch64 MP
"PodWW Rfe PodRR Fre"
Generator=by hand
(* a comment (* with { inside it *)
   lines *)
{
  x=0; uint64_t y;
  0:X1=x; 0:X3=y;   1:X1 = x; 1:X3=y;
}
 P0          | P1          ;
 MOV W0,#1   | LDR W0,[X3] ;
 STR W0,[X1] | LDR W2,[X1] ;
 STR W0,[X3] |             ;
exists (1:X0=1 /\ 1:X2=0)
"""

MP_REPORT = r"""Test MP Allowed
States 4
1:X0=0; 1:X2=0;
1:X0=0; 1:X2=1;
1:X0=1; 1:X2=0;
1:X0=1; 1:X2=1;
Ok
Witnesses
Positive: 1 Negative: 3
Condition exists (1:X0=1 /\ 1:X2=0)
Observation MP Sometimes 1 3"""


def with_condition(condition: str) -> str:
    """MP with another condition."""
    return MP.replace("exists (1:X0=1 /\\ 1:X2=0)", condition)


def test_report() -> None:
    """The report has herd7's form: states, witnesses, condition, observation."""
    assert str(run(read(MP))) == MP_REPORT


@pytest.mark.parametrize(
    ("condition", "kind", "verdict", "witnesses", "observation"),
    [
        (r"exists (1:X0=1 /\ 1:X2=0)", "Allowed", "Ok", (1, 3), "Sometimes 1 3"),
        (r"exists 1:W0=2", "Allowed", "No", (0, 4), "Never 0 4"),
        (r"~exists (1:X0=1 /\ 1:X2=0)", "Forbidden", "No", (3, 1), "Sometimes 1 3"),
        (r"~exists (1:X0=3)", "Forbidden", "Ok", (4, 0), "Never 0 4"),
        (r"forall (1:X0=0 \/ 1:X0=1)", "Required", "Ok", (4, 0), "Always 4 0"),
        (r"forall (1:X0=0 \/ 1:X2=1)", "Required", "No", (3, 1), "Sometimes 3 1"),
        (r"forall (1:X0=1 => 1:X2=1)", "Required", "No", (3, 1), "Sometimes 3 1"),
        (r"exists (~(1:X0=0) /\ not (1:X2=1))", "Allowed", "Ok", (1, 3), "Sometimes 1 3"),
        (r"exists ([x]=1 /\ y=0x1 /\ 0:X0=1)", "Allowed", "Ok", (4, 0), "Always 4 0"),
        (r"filter (1:X0=1) exists (1:X2=0)", "Allowed", "Ok", (1, 1), "Sometimes 1 1"),
        (r"locations [1:X0; x;]", "Required", "Ok", (4, 0), "Always 4 0"),
    ],
)
def test_conditions(
    condition: str, kind: str, verdict: str, witnesses: tuple[int, int], observation: str
) -> None:
    """Each quantifier counts and answers as herd7 does; ~exists turns its witnesses round."""
    lines = str(run(read(with_condition(condition)))).splitlines()
    assert lines[0] == f"Test MP {kind}"
    assert verdict in lines
    assert "Positive: {} Negative: {}".format(*witnesses) in lines
    assert lines[-1] == f"Observation MP {observation}"


def test_states_are_what_is_observed() -> None:
    """A state shows locations and what the condition names, registers first, each once."""
    states = run(read(with_condition("locations [x; 1:X2] exists (1:X0=1)"))).states
    assert states[0] == "1:X0=0; 1:X2=0; [x]=1;"
    assert len(states) == 4


SELF = """AArch64 SELF
CacheType={cache}
{{ ins_t 0:X0=instr:"NOP"; 0:X1=P0:slot; 0:X3=label:"P0:end"; ins_t 0:X4; }}
 P0            ;
 STR W0,[X1]   ;
 DSB ISH       ;
 ISB           ;
 slot: B .+8   ;
 MOV W9,#1     ;
 end:          ;
 LDR W4,[X1]   ;
locations [0:X4; 0:X3; 0:X1;]
exists (0:X9=0 /\\ 0:X4=NOP)
"""


@pytest.mark.parametrize(
    ("cache", "model"),
    [
        ("", Model()),
        ("IDC", Model(idc=True)),
        ("DIC IDC", Model(True, True)),
        ("IDC,DIC", Model(True, True)),
        ("DIC", Model(True, True)),
    ],
)
def test_cache_type(cache: str, model: Model) -> None:
    """The header's CacheType is the model's, unless another one is asked for."""
    test = read(SELF.format(cache=cache))
    assert test.model == model
    assert run(test).observation == ("Never" if model.dic else "Sometimes")
    assert run(test, Model()).observation == "Sometimes"


def test_values_are_shown_as_what_they_are() -> None:
    """Instructions and labels are shown in herd7's spelling."""
    states = run(read(SELF.format(cache="DIC IDC"))).states
    assert states == ('0:X1=label:"P0:slot"; 0:X3=label:"P0:end"; 0:X4=NOP; 0:X9=1;',)


@pytest.mark.parametrize(
    ("line", "shown"),
    [("b 0x8", "B .+8"), ("b 0xfffffffffffffff8", "B .-8"), ("mov x6, x4", "MOV X6,X4"),
     ("mov w9, #12", "MOV W9,#12"), ("ldr w2, [x3, #8]", "LDR W2,[X3,#8]"), ("isb", "ISB"),
     ("movz x1, #1, lsl #16", "MOVZ X1,#1,LSL #16"), ("dmb ishst", "DMB ISHST")],
)  # fmt: skip
def test_show_instruction(line: str, shown: str) -> None:
    """Capitals, decimal numbers, no space after commas, branches as .+N."""
    assert show_instruction(assemble(line)) == shown


def test_cmodx_flag() -> None:
    """Modification of what is off the list is flagged, of what is on it not."""
    text = (
        SELF.format(cache="").replace('instr:"NOP"; 0:X1', 'instr:"{}"; 0:X1').replace("=NOP", "=0")
    )
    on, off = (run(read(text.replace("{}", insn))).flags for insn in ("B .+8", "RET"))
    assert on == ()
    # On one PE the write is ordered with the fetch that follows DSB and ISB, but not without them.
    assert off == ()
    bare = text.replace(" DSB ISH       ;\n ISB           ;\n", "")
    assert run(read(bare.replace("{}", "B .+8"))).flags == ()
    assert run(read(bare.replace("{}", "RET"))).flags == ("violates-CMODX-requirements",)


def test_arrays_faults_and_handlers() -> None:
    """Arrays, an undefined instruction's fault, and a handler that returns are read and run."""
    text = """AArch64 handler
{ int t[2]={1,2}; 0:X1=t; 0:X5=1; }
 P0             | P0.F           ;
 LDR W2,[X1,#4] | MOV W7,#42     ;
 m: UDF #0      | ADR X9,back    ;
 back:          | MSR ELR_EL1,X9 ;
 STR W2,[X1]    | ERET           ;
locations [t;]
exists (0:X7=42 /\\ t[0]=2)
"""
    result = run(read(text))
    assert result.states == ("0:X7=42; t={2,2}; t[0]=2;",)
    assert result.holds
    fatal = """AArch64 fatal
{ int t[2]={1,2}; }
 P0 ;
 m: UDF #0 ;
locations [t;]
exists (fault(P0:m,UndefinedInstruction))
"""
    result = run(read(fatal))
    assert result.holds
    assert result.states == ("t={1,2}; Fault(P0:m,UndefinedInstruction);",)


FAULTS = """AArch64 faults
{ 0:X0=1; 0:X1=x; 1:X1=x; }
 P0          | P1          ;
 STR W0,[X1] | LDR W5,[X1] ;
             | CBZ W5,M    ;
             | L: SVC #0   ;
             | M: SVC #0   ;
"""


@pytest.mark.parametrize(
    ("condition", "states"),
    [
        ("fault(P1)", ("Fault(P1:M,SupervisorCall);", "Fault(P1:L,SupervisorCall);")),
        ("fault(P1:L)", (" ~Fault(P1:L);", "Fault(P1:L,SupervisorCall);")),
        ("fault(P1:L,SupervisorCall)", (
            " ~Fault(P1:L,SupervisorCall);", "Fault(P1:L,SupervisorCall);")),
        ("fault(P1:L) \\/ fault(P0)", (
            " ~Fault(P1:L); ~Fault(P0);", "Fault(P1:L,SupervisorCall); ~Fault(P0);")),
    ],
)  # fmt: skip
def test_faults_in_states(condition: str, states: tuple[str, str]) -> None:
    """A state names the kind and the label of an exception that was taken; text of herd7 7.58."""
    result = run(read(f"{FAULTS}exists (1:X5=1 /\\ ({condition}))\n"))
    assert result.states == tuple(f"1:X5={i}; {state}" for i, state in enumerate(states))


def test_code_of_another_thread() -> None:
    """BLR into another thread's column and RET back, through a pointer in memory."""
    text = """AArch64 calls
{ [x]=P1:one; 0:X1=x; 1:X1=x; 1:X2=P1:two; }
 P0          | P1          ;
 LDR X2,[X1] | STR X2,[X1] ;
 BLR X2      | B end       ;
 MOV W5,W0   | one:        ;
             | MOV W0,#1   ;
             | RET         ;
             | two:        ;
             | MOV W0,#2   ;
             | RET         ;
             | end:        ;
forall (0:X5=1 \\/ 0:X5=2)
"""
    result = run(read(text))
    assert result.states == ("0:X5=1;", "0:X5=2;")
    assert result.holds


def test_loops_are_cut(tmp_path: Path) -> None:
    """Paths that loop too often are left out, and the report's reader is told."""
    file = tmp_path / "loop.litmus"
    file.write_text(
        "AArch64 loop\n{ 0:X1=x; 1:X1=x; }\n P0 | P1 ;\n L: LDR W0,[X1] | MOV W0,#1 ;\n"
        " CBZ W0,L | STR W0,[X1] ;\nexists (0:X0=1)\n"
    )
    out, err = io.StringIO(), io.StringIO()
    assert run_files([str(file)], out=out, err=err) == 0
    assert "Observation loop Always" in out.getvalue()
    assert (
        err.getvalue() == f"{file}: outcomes may be missing: paths were left out: raise --unroll\n"
    )


@pytest.mark.parametrize(
    ("condition", "verdict"),
    [
        ("exists (0:X0=1)", "Ok"),
        ("exists (0:X0=2)", "Undecided"),
        ("~exists (0:X0=1)", "No"),
        ("~exists (0:X0=2)", "Undecided"),
        ("forall (0:X0=1)", "Undecided"),
        ("forall (0:X0=2)", "No"),
    ],
)
def test_a_cut_run_decides_only_what_it_can(condition: str, verdict: str, tmp_path: Path) -> None:
    """Where more paths could change the verdict there is none, and the exit status is 2."""
    file = tmp_path / "cut.litmus"
    file.write_text(
        "AArch64 cut\n{ 0:X1=x; 1:X1=x; }\n P0 | P1 ;\n L: LDR W0,[X1] | MOV W0,#1 ;\n"
        f" CBZ W0,L | STR W0,[X1] ;\n{condition}\n"
    )
    out, err = io.StringIO(), io.StringIO()
    assert run_files([str(file)], out=out, err=err) == {"Ok": 0, "No": 1, "Undecided": 2}[verdict]
    lines = out.getvalue().splitlines()
    assert verdict in lines
    assert "Cut: longer paths than --unroll allows are left out" in lines
    assert ("undecided" in err.getvalue()) == (verdict == "Undecided")


def test_the_bound_that_was_met_is_named(tmp_path: Path) -> None:
    """A straight thread that is too long is not a loop; with a higher bound it is run."""
    file = tmp_path / "long.litmus"
    file.write_text("AArch64 long\n{ }\n P0 ;\n" + " MOV X0,#1 ;\n" * 600 + "exists (0:X0=1)\n")
    out, err = io.StringIO(), io.StringIO()
    assert run_files([str(file)], out=out, err=err) == 2
    assert err.getvalue().endswith(": raise --steps\n")
    assert run_files([str(file)], out=out, err=err, limits=Limits(steps=600)) == 0
    assert "Observation long Always 1 0" in out.getvalue()


def test_an_error_of_the_checker_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever happens in one file, it is named in one line and the next file is run."""
    good = tmp_path / "good"
    good.write_text(MP)

    def broken(text: str, name: str) -> Test:
        monkeypatch.undo()
        raise IndexError("of something")

    monkeypatch.setattr("static_call.memory_model.litmus_reader.read", broken)
    out, err = io.StringIO(), io.StringIO()
    assert run_files([str(good)] * 2, out=out, err=err) == 2
    assert out.getvalue() == MP_REPORT + "\n\n"
    assert err.getvalue() == (
        f"{good}: an error of static-call itself: IndexError: of something: please report it, with "
        "what STATIC_CALL_TRACEBACK=1 adds\n"
    )


def good(condition: str, initial: str = "") -> str:
    """A test of one thread; the condition starts in line 6 if the initial state is one line."""
    return f"AArch64 a\n{{ {initial}\n}}\n P0 ;\n NOP ;\n{condition}\n"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("X86 MP\n{}\n", 1, "AArch64"),
        ("AArch64 a\n", 1, "expected {"),
        ("AArch64 a\n{ 0:X0=1;\n P0 ;\n", 2, "expected }"),
        ("AArch64 a\n{ }\n P0 ;\n FROB X1 ;\nexists (0:X0=1)\n", 4, "FROB"),
        ("AArch64 a\n{ }\n P0 ;\n B L9 ;\nexists (0:X0=1)\n", 4, "L9"),
        ("AArch64 a\n{ }\n P0 | Q ;\n NOP | NOP ;\n", 3, "Q"),
        ("AArch64 a\n{ }\n P1 ;\n NOP ;\n", 3, "P0"),
        ("AArch64 a\n{\n 0:X0=P0:no;\n}\n P0 ;\n NOP ;\n", 3, "no label P0:no"),
        ('AArch64 a\n{\n 0:X0=instr:"FROB";\n}\n P0 ;\n NOP ;\n', 3, "FROB"),
        ("AArch64 a\n{\n 0:V0=1;\n}\n P0 ;\n NOP ;\n", 3, "0:V0"),
        ("AArch64 a\n{ }\n P0 ;\n NOP ;\nexists (0:X0=1\n", 6, "expected )"),
        ("AArch64 a\n{ }\n P0 ;\n NOP ;\nexists (0:X0>1)\n", 5, "expected ="),
        ("AArch64 a\n{ }\n P0 ;\n NOP \n", 4, "expected ;"),
        ("AArch64 a\n{ }\n P0 ;\n NOP ;\nexists (fault(P0:zz))\n", 5, "zz"),
        ("", 1, "AArch64"),
        # What is not there
        (good("exists (3:X0=1)"), 6, "no thread P3"),
        (good("exists (fault(P3))"), 6, "no thread P3"),
        (good("exists (0:X77=1)"), 6, "no register 0:X77"),
        (good("", "0:X99=1;"), 2, "no register 0:X99"),
        ("AArch64 a\n{ }\n P0.F ;\n NOP ;\n", 3, "without gaps"),
        (good("exists (a[x]=1)", "int a[2];"), 6, "no element a[x]"),
        (good("exists (a[2]=1)", "int a[2];"), 6, "no element a[2]"),
        (good("", "int a[2]; 0:X1=a[2];"), 2, "no element a[2]"),
        # What is there twice
        ("AArch64 a\n{ }\n P0 | P0 ;\n NOP | NOP ;\n", 3, "a second column P0"),
        ("AArch64 a\n{ }\n P0 ;\n L: NOP ;\n L: NOP ;\n", 5, "a second label P0:L"),
        (good("exists (0:X0=1)\nforall (0:X0=1)"), 7, "a second condition"),
        (good("filter (0:X0=1)\nfilter (0:X0=1)"), 7, "a second filter"),
        (good("", "0:X1=x;\n0:X1=y;"), 3, "a second value of 0:X1"),
        (good("", "x=1;\nx=2;"), 3, "a second value of [x]"),
        (good("", "int x;\nuint64_t x;"), 3, "a second x of another type"),
        # What is too much
        ("AArch64 a\n{ }\n P0 ;\n NOP | NOP ;\n", 4, "after the last column"),
        (good("", "int a[2]={1,2,3};"), 2, "3 values for the 2 of a"),
        (good("", "int a[2]=1;"), 2, "a is an array"),
        (good("", "int a[9999];"), 2, "more than 4096"),
        (good("", "int 0:X1;\nuint64_t 0:X1=1;"), 3, "a second type of 0:X1"),
        (good("", "0:X1=99999999999999999999;"), 2, "more than 64 bits"),
        ("AArch64 a\nCacheType=DCI\n{ }\n P0 ;\n NOP ;\n", 2, "not DCI"),
        ("AArch64 a\n{ }\n P0 ;\n (* NOP ;\nexists (0:X0=1)\n", 4, "comment"),
        (good("exists (a={1,2)", "int a[2];"), 6, "expected }"),
        (good("exists (a=1)", "int a[2];"), 6, "a is an array"),
    ],
)
def test_errors_name_the_line(text: str, line: int, message: str) -> None:
    """What cannot be read is named with the file, the line and what was expected."""
    with pytest.raises(LitmusError) as caught:
        read(text, "t.litmus")
    assert str(caught.value).startswith(f"t.litmus:{line}: ")
    assert message in str(caught.value)


def test_places_have_room() -> None:
    """Arrays and columns of any length keep clear of what comes after them."""
    array = run(read(good("locations [a[32]; b]", "uint64_t a[64]; b=7;")))
    assert array.states == ("a[32]=0; [b]=7;",)
    late = run(read(good("locations [a[32]; b]", "0:X1=a; b=7; uint64_t a[64];")))
    assert late.states == ("a[32]=0; [b]=7;",)
    rows = " MOV X0,#1 | MOV X0,#2 | MOV X9,#3 ;\n" * 1024
    text = f"AArch64 long\n{{ }}\n P0 | P1 | P0.F ;\n{rows}locations [0:X0; 1:X0; 0:X9]\n"
    assert run(read(text), limits=Limits(steps=1024)).states == ("0:X0=1; 0:X9=0; 1:X0=2;",)


def test_arrays_as_values() -> None:
    """A condition compares a whole array, as states show it."""
    result = run(read(good("exists (a={1,-1,x})", "x=0; uint64_t a[3]={1,-1,x}; int b[2]={3,4};")))
    assert result.holds
    assert result.states == (f"a={{1,{2**64 - 1},x}};",)
    assert not run(read(good("exists (b={3,5})", "int b[2]={3,4};"))).holds
    assert run(read(good("forall (b={-3,4})", "int b[2]={-3,4};"))).holds


def test_what_a_file_may_contain() -> None:
    """Declarations apart from values, braces in a description, negative numbers of a size."""
    text = good("exists (*x=-1 /\\ 0:X1=x)", "int x; x=-1; 0:X1=x; uint64_t 0:X1; 3:X1=x;")
    text = text.replace("{ int", '"a { b"\nHash="0\n{ int').replace("(*", "( *")
    assert run(read(text)).holds


def test_cache_type_and_lse2_of_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The options replace the headers' CacheType, and choose a processor with FEAT_LSE2."""
    file = tmp_path / "self.litmus"
    file.write_text(SELF.format(cache="IDC,DIC"))
    for options, seen in (
        ([], "Never"), (["--cache-type", "none"], "Sometimes"),
        (["--cache-type", "IDC"], "Sometimes"), (["--cache-type", "IDC,DIC"], "Never"),
    ):  # fmt: skip
        assert cli.main(["litmus", *options, str(file)]) == (seen == "Never")
        assert f"Observation SELF {seen}" in capsys.readouterr().out
    file.write_text(
        "AArch64 pair\n{ uint64_t t[2]; 0:X1=t; 1:X1=t; 0:X2=1; 0:X3=1; }\n P0 | P1 ;\n"
        " STP X2,X3,[X1] | LDP X4,X5,[X1] ;\nexists (1:X4=1 /\\ 1:X5=0)\n"
    )
    for lse2, seen in (([], "Sometimes"), (["--lse2"], "Never")):
        assert cli.main(["litmus", *lse2, str(file)]) == (seen == "Never")
        assert f"Observation pair {seen}" in capsys.readouterr().out


def test_progress(tmp_path: Path) -> None:
    """Progress is told before each file, and while one with many executions runs."""
    file = tmp_path / "mp"
    file.write_text(MP)
    stores = " STR W0,[X1] | STR W0,[X1] ;\n" * 6
    many = tmp_path / "many"
    many.write_text(f"AArch64 many\n{{ 0:X1=x; 1:X1=x; }}\n P0 | P1 ;\n{stores}locations [x]\n")
    told: list[tuple[int, int, str]] = []

    class Told(Progress):
        def __call__(self, done: int, total: int, what: str) -> None:
            told.append((done, total, what))

    run_files([str(file), str(many)], out=io.StringIO(), progress=Told())
    first, second = (0, 2, str(file)), (1, 2, str(many))
    assert list(dict.fromkeys(told)) == [first, second]
    assert told.count(second) > told.count(first)  # 12!/(6! 6!) = 924 executions


def test_goes_on_after_an_error(tmp_path: Path) -> None:
    """Files that cannot be read or run do not keep the others from being run."""
    good, bad, binary = (tmp_path / name for name in ("good", "bad", "binary"))
    good.write_text(MP)
    bad.write_text("AArch64 bad\n{ }\n P0 ;\n FROB ;\n")
    binary.write_bytes(b"\xff\xfe\x00")
    unrun = tmp_path / "unrun"
    unrun.write_text("AArch64 unrun\n{ }\n P0 ;\n MRS X0,CTR_EL0 ;\nexists (0:X0=0)\n")
    out, err = io.StringIO(), io.StringIO()
    files = [str(f) for f in (bad, binary, tmp_path / "none", unrun, good)]
    assert run_files(files, out=out, err=err) == 2
    assert out.getvalue() == MP_REPORT + "\n\n"
    assert [line.split(":")[0] for line in err.getvalue().splitlines()] == files[:4]
    assert run_files([str(good)], out=io.StringIO(), err=err) == 0


@pytest.mark.parametrize(
    "case",
    litmus_tests.IFETCH + litmus_tests.COHERENCE + litmus_tests.ATOMICS,
    ids=lambda case: case.name,
)
def test_written_tests_mean_the_same(case: litmus_tests.Case) -> None:
    """A test that is written and read back has the same states, counts and flags."""
    test = read(case.text)
    again = read(write(test))
    for model in CACHE_TYPES:
        before, after = run(test, model), run(again, model)
        assert (before.states, before.positive, before.negative, before.flags) == (
            after.states, after.positive, after.negative, after.flags
        )  # fmt: skip


def test_arrays_are_written_with_their_elements_size() -> None:
    """An access to half an element does not change where the others are."""
    text = """AArch64 array
{ uint64_t t[3]={1,2,3}; 0:X1=t; }
 P0 ;
 LDR W2,[X1] ;
locations [t; 0:X2]
"""
    states = run(read(text)).states
    assert states == ("0:X2=1; t={1,2,3};",)
    assert run(read(write(read(text)))).states == states


def test_write_what_was_never_text() -> None:
    """A program from machine code: another run of code, a literal load, labels of its own."""
    lines = {0x1000: "bl 0x2000", 0x1004: "nop", 0x2000: "ldr x16, 0x3000", 0x2004: "br x16"}
    lines |= {0x4000: "mov w9, #1", 0x4004: "ret"}
    code = {at: assemble(line, at) for at, line in lines.items()}
    program = Program(code, {0x3000: (0x4000).to_bytes(8, "little")}, (Thread(0x1000),))
    test = Test("calls", program, variables={"literal": Variable("literal", 0x3000)},
                labels={"P0:target": 0x4000})  # fmt: skip
    text = write(test)
    assert "uint64_t literal=P0:target;" in text
    assert "LDR X16,[X29]" in text
    again = read(text + "locations [0:X9;]")
    assert run(again).states == ("0:X9=1;",)


def test_not_expressible() -> None:
    """What has no form in a litmus file is refused, by name."""
    program = Program({0: assemble("isb")}, {}, (Thread(0),), cse=(0,))
    with pytest.raises(NotExpressible, match="every PE"):
        write(Test("t", program))
    program = Program({0: assemble("b 0x100")}, {}, (Thread(0),))
    with pytest.raises(NotExpressible, match="0x0"):
        write(Test("t", program))

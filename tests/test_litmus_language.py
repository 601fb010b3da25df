"""What the litmus language means, held to herd7.

Each expected state and verdict is what herd7 7.58 prints for the test.
"""

from __future__ import annotations

import pytest

from static_call.memory_model.litmus import run
from static_call.memory_model.litmus_format import LitmusError
from static_call.memory_model.litmus_reader import read
from static_call.memory_model.model import Model
from static_call.memory_model.program import Limits, Unmodelled


def one(initial: str, code: str, condition: str, header: str = "") -> str:
    """A test of one thread, its instructions separated by semicolons."""
    rows = "".join(f" {line.strip()} ;\n" for line in code.split(";"))
    return f"AArch64 one\n{header}{{\n{initial}\n}}\n P0 ;\n{rows}{condition}\n"


WIDE = "0:X1=0xfedcba9876543210;"


@pytest.mark.parametrize(
    ("initial", "code", "condition", "state", "holds"),
    [
        # A register without a type is an int
        (WIDE, "MOV X0,X1", "exists (0:X0=0x76543210)", "0:X0=1985229328;", True),
        (WIDE, "MOV X0,X1", "exists (0:X0=0xfedcba9876543210)", "0:X0=1985229328;", True),
        ("", "MOV W0,#-1", r"exists (0:X0=4294967295 /\ 0:X0=-1)", "0:X0=-1;", True),
        (f"{WIDE} int64_t 0:X0;", "MOV X0,X1", "locations [0:X0]",
         "0:X0=-81985529216486896;", True),
        (f"{WIDE} uint64_t 0:X0;", "MOV X0,X1", "exists (0:X0=0x76543210)",
         "0:X0=18364758544493064720;", False),
        (f"{WIDE} uint8_t 0:X0;", "MOV X0,X1", "exists (0:X0=16)", "0:X0=16;", True),
        ("uint64_t 0:X0;", "MOV W0,#-1", "exists (0:X0=-1)", "0:X0=4294967295;", False),
        ("uint32_t 0:X0;", "MOV X0,#-1", "exists (0:X0=0x1ffffffff)", "0:X0=4294967295;", True),
        # The type of a register is not that of what it starts with
        ("0:X0=4294967295; uint64_t 0:X1;", "MOV X1,X0", "exists (0:X0=-56)",
         "0:X0=-1;", False),
        ("uint32_t 0:X0=-1; uint64_t 0:X1;", "MOV X1,X0", "locations [0:X1]",
         "0:X1=18446744073709551615;", True),
        # Variables
        ("x=-1; 0:X1=x;", "LDR X0,[X1]", "locations [x]", "[x]=-1;", True),
        ("x=-1; 0:X1=x; uint64_t 0:X0;", "LDR X0,[X1]", "locations [0:X0]",
         "0:X0=4294967295;", True),
        ("uint8_t x=300;", "NOP", "exists (x=255)", "[x]=44;", False),
        ("int8_t x=200;", "NOP", "exists (x=-56)", "[x]=-56;", True),
        ("uint64_t x=-1;", "NOP", "exists (x=-1)", "[x]=18446744073709551615;", True),
        ("long x=-1; char c=-1;", "NOP", r"exists (x=-1 /\ c=255)", "[c]=-1; [x]=-1;", True),
        ("x=0; 0:X0=0x123456789; 0:X1=x;", "STR X0,[X1]", "exists (x=-1)",
         "[x]=591751049;", False),
        ("intptr_t x=y; uintptr_t z=4;", "NOP", "locations [x; z;]", "[x]=y; [z]=4;", True),
        ("*x=4;", "NOP", "locations [x]", "[x]=4;", True),
        # Pointers
        ("x=1; 0: X3=x; void *y=x; int *z=x;", "LDR W0,[X3]",
         r"exists (0: X0=1 /\ y=x /\ z=x)", "0:X0=1; [y]=x; [z]=x;", True),
        ("0:X1=x;", "LDR X0,[X1],#44", r"exists (0:X0=0 /\ 0:X1!=x)", "0:X0=0; 0:X1=x+44;", True),
        ("uint64_t *x=y; uint64_t y=-1; uint64_t 0:X2; 0:X0=x;", "LDR X1,[X0]; LDR X2,[X1]",
         r"exists (0:X1=y /\ 0:X2=-1)", "0:X1=y; 0:X2=18446744073709551615;", True),
        # Arrays
        ("int x[2]={1,2}; 0:X1=x;", "LDR W0,[X1,#4]", r"exists (x[0]=1 /\ 0:X0=2)",
         "0:X0=2; x[0]=1;", True),
        ("int x[2]={1,-1};", "NOP", "exists (x={1,4294967295})", "x={1,-1};", True),
        ("0:X2=v[1]; int64_t v[2] = {22,44}", "LDR X0,[X2]", "exists (v[1]=44)",
         "v[1]=44;", True),
        # Names of registers
        ("P0:X1=2;", "NOP", "exists (P0:X1=2)", "0:X1=2;", True),
        ("0:X1=1;", "CMP WZR,W1,ASR #1; CSET W0,EQ", r"forall (0:XZR=0 /\ 0:X0=1)",
         "0:XZR=0; 0:X0=1;", True),
        # Conditions
        ("x=1;", "NOP", "~exists (not (x=1))", "[x]=1;", True),
        ("x=1;", "NOP", r"exists x=1 /\ (true => x=2)", "[x]=1;", False),
        ("x=1;", "NOP", "exists (x=0 => x=1 => x=0)", "[x]=1;", True),
        ("x=1;", "NOP", r"exists (x=1 => x=1 /\ x=0)", "[x]=1;", False),
        ("x=1;", "NOP", "exists (x<>1)", "[x]=1;", False),
        ("x=-1;", "NOP", "filter x=-1 exists (x=4294967295)", "[x]=-1;", True),
        # A loop on values that are known runs to its end
        ("0:X0=9;", "L0: SUB W0,W0,#1; CBNZ W0,L0", "exists (0:X0=0)", "0:X0=0;", True),
    ],
)  # fmt: skip
def test_values_and_types(initial: str, code: str, condition: str, state: str, holds: bool) -> None:
    """A location has its type, int by default; states and comparisons have that many bits."""
    result = run(read(one(initial, code, condition)))
    assert result.states == (state,)
    assert result.holds == holds
    assert not result.cut


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (one("", "NOP", "", "Variant=vmsa\n"), 2, "page tables"),
        (one("", "NOP", "", "variant=memtag,sync\n"), 2, "memory tags"),
        (one("", "NOP", "", "Variant=neon\n"), 2, "vectors"),
        (one("", "NOP", "", "Variant=pac\n"), 2, "pointer authentication"),
        (one("", "NOP", "", "Variant=OptRfRMW\n"), 2, "herd7's variant OptRfRMW"),
        (one("", "NOP", "", "Variant=NV2\n"), 2, "FEAT_NV2"),
        (one("", "NOP", "", "Variant=handled\n"), 2, "exceptions of memory accesses"),
        (one("", "NOP", "", "EL0=P0\n"), 2, "page tables"),
        (one("", "NOP", "", "TTHM=P0:HA\n"), 2, "page tables"),
        (one("[PTE(x)]=(oa:PA(y));", "NOP", ""), 3, "page tables"),
        (one("pteval_t 0:X1;", "NOP", ""), 3, "page tables"),
        (one("0:X3=pte_x;", "NOP", ""), 3, "page tables"),
        (one("0:X3=x;", "NOP", "exists (0:X4=phy_x)"), 7, "page tables"),
        (one("[INTID(A)]=(active:1);", "NOP", ""), 3, "interrupts"),
        (one("", "GIC CDDI,X1", ""), 6, "interrupts"),
        (one("", "GSB SYS", ""), 6, "interrupts"),
        (one("", "TLBI VMALLE1IS", ""), 6, "page tables"),
        (one("0:X1=x:red;", "NOP", ""), 3, "memory tags"),
        (one("", "STG X0,[X1]", ""), 6, "memory tags"),
        (one("", "IC IALLU", ""), 6, "IC other than"),
        (one("", "DC IVAC,X0", ""), 6, "DC and IC other than"),
        (one("", "MRS X0,CTR_EL0", ""), 6, "system registers"),
        (one("", "MSR DAIFSET,#2", ""), 6, "system registers"),
        (one("", "LDNP X0,X1,[X2]", ""), 6, "non-temporal pairs"),
        (one("", "NOP", "exists (fault(P0,x,TagCheck))"), 7, "memory tags"),
        (one("", "NOP", "exists (fault(P0,x))"), 7, "faults of memory accesses"),
        (one("0:V0.4S={1,2,3,4};", "NOP", ""), 3, "vectors"),
        (one("int32x4_t 0:V0;", "NOP", ""), 3, "vectors"),
        (one("", "LDR Q0,[X1]", ""), 6, "vectors"),
        (one("", "ADD V0.4S,V1.4S,V2.4S", ""), 6, "vectors"),
        (one("", "PTRUE P0.S", ""), 6, "vectors"),
        (one("", "SMSTART", ""), 6, "vectors"),
        (one("", "PACDA X0,X1", ""), 6, "pointer authentication"),
        (one("0:X0=pacda(x,0);", "NOP", ""), 3, "pointer authentication"),
        (one("int128_t x=1;", "NOP", ""), 3, "int128_t is not a type"),
        (one("float x=1;", "NOP", ""), 3, "float is not a type"),
    ],
)
def test_what_is_not_modelled_is_refused_by_its_name(text: str, line: int, message: str) -> None:
    """A test that needs more than the model has gets no verdict, and its reader is told why."""
    with pytest.raises(LitmusError) as caught:
        read(text, "t.litmus")
    assert str(caught.value).startswith(f"t.litmus:{line}: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("initial", "code", "message"),
    [
        ("", "LDR W0,[X1]", "P0 reads address 0x0,"),
        ("0:X1=x;", "LDR X1,[X1]; STR W0,[X1]", "P0 writes address 0x0,"),
        ("int64_t y=16; 0:X1=y;", "LDR X1,[X1]; LDR W0,[X1]", "P0 reads address 0x10,"),
    ],
)
def test_access_to_no_variable(initial: str, code: str, message: str) -> None:
    """Memory that the test says nothing of has no contents to answer with: herd7 7.58 refuses it
    ("Non-symbolic memory access"), or drops the execution."""
    with pytest.raises(Unmodelled, match=message):
        run(read(one(initial, code, "exists (0:X0=0)")))


def test_an_error_is_one_line() -> None:
    """Where a semicolon is missing, a cell has two rows; the error is still one line."""
    text = one("", "MOV W0,#1; MOV W1,#1", "").replace("#1 ;", "#1", 1)
    with pytest.raises(LitmusError) as caught:
        read(text, "t.litmus")
    assert str(caught.value).startswith("t.litmus:6: MOV W0,#1 MOV W1,#1: ")
    assert "\n" not in str(caught.value)


def test_access_to_no_variable_in_executions_that_are_forbidden() -> None:
    """If the model forbids it, it is no reason to refuse: herd7 7.58 says Always, too."""
    text = r"""AArch64 t
{ 0:X1=x; 1:X1=x; int64_t y=16; 1:X3=y; 0:X0=1; }
P0          | P1           ;
STR W0,[X1] | LDR W0,[X1]  ;
            | LDR W2,[X1]  ;
            | EOR W4,W0,#1 ;
            | ORR W4,W4,W2 ;
            | CBNZ W4,L    ;
            | LDR X5,[X3]  ;
            | LDR W6,[X5]  ;
            | L:           ;
forall (1:X4=1)
"""
    assert run(read(text)).observation == "Always"


def test_instructions_as_values() -> None:
    """A location that holds an instruction's word shows it, whatever its type; NOP bare. The
    expected state is herd7's (7.58, -variant ifetch)."""
    text = """AArch64 t
{ 0:X0=P0:L0; 0:X1=P0:L1; ins_t 0:X4; ins_t x=NOP; ins_t y; 0:X7=y; 0:X6=x; }
P0;
LDR W2,[X0]; LDR W3,[X1]; LDR W4,[X6]; STR W2,[X7]; B L3; L0: NOP; L1: RET; L3: NOP;
locations [x;y;0:X2;0:X3;0:X4;]
"""
    expected = '0:X2=NOP; 0:X3=instr:"RET"; 0:X4=NOP; [x]=NOP; [y]=NOP;'
    assert run(read(text)).states == (expected,)


@pytest.mark.parametrize("variant", ["ifetch", "self", "mixed", "mixed,ifetch", "fatal", "precise"])
def test_variants_that_are_modelled(variant: str) -> None:
    """Fetches and accesses of different sizes are in the model; nothing here can fault."""
    assert run(read(one("x=1;", "NOP", "exists (x=1)", f"Variant={variant}\n"))).holds


ORDERED = """AArch64 pairs
{{ int x[2]={{0,0}}; int y; 0:X1=x; 1:X1=x; 0:X2=1; 0:X5=y; 1:X5=y; }}
 P0 | P1 ;
{rows}
exists ({condition})
"""


@pytest.mark.parametrize(
    ("rows", "condition", "observation"),
    [
        (" STR W2,[X1,#4] | LDIAPP W3,W4,[X1] ;\n DMB SY | ;\n STR W2,[X1] | ;",
         r"1:X3=1 /\ 1:X4=0", "Never"),
        (" STR W2,[X1,#4] | LDP W3,W4,[X1] ;\n DMB SY | ;\n STR W2,[X1] | ;",
         r"1:X3=1 /\ 1:X4=0", "Sometimes"),
        (" STR W2,[X5] | LDIAPP W3,W4,[X1] ;\n DMB SY | LDR W6,[X5] ;\n STR W2,[X1,#4] | ;",
         r"1:X4=1 /\ 1:X6=0", "Never"),
        (" STR W2,[X5] | LDIAPP W3,W4,[X1] ;\n DMB SY | LDR W6,[X5] ;\n STR W2,[X1] | ;",
         r"1:X3=1 /\ 1:X6=0", "Never"),
        (" STR W2,[X5] | LDP W3,W4,[X1] ;\n DMB SY | LDR W6,[X5] ;\n STR W2,[X1] | ;",
         r"1:X3=1 /\ 1:X6=0", "Sometimes"),
        (" STILP W2,W2,[X1] | LDR W3,[X1,#4] ;\n | DMB SY ;\n | LDR W4,[X1] ;",
         r"1:X3=1 /\ 1:X4=0", "Never"),
        (" STP W2,W2,[X1] | LDR W3,[X1,#4] ;\n | DMB SY ;\n | LDR W4,[X1] ;",
         r"1:X3=1 /\ 1:X4=0", "Sometimes"),
    ],
)  # fmt: skip
def test_ordered_pairs(rows: str, condition: str, observation: str) -> None:
    """LDIAPP and STILP are ordered as two instructions with acquire or release would be."""
    assert run(read(ORDERED.format(rows=rows, condition=condition))).observation == observation


def test_iterations_that_depend_on_what_was_read_are_counted() -> None:
    """A loop that polls or retries is cut by --unroll; one that counts is not."""
    count = "L: LDR W2,[X1]; ADD W2,W2,#1; STR W2,[X1]; SUB W0,W0,#1; CBNZ W0,L"
    counted = run(read(one("0:X0=20; 0:X1=x;", count, "forall (x=20)")))
    assert counted.holds
    assert counted.cut == ()
    retried = run(read(one("0:X1=x;", "L: LDXR W0,[X1]; STXR W2,W0,[X1]; CBNZ W2,L", "")))
    assert retried.cut == ("--unroll",)
    endless = run(read(one("", "L: B L", "")), limits=Limits(steps=50))
    assert endless.cut == ("--steps",)
    assert not endless.decided


EXCEPTION = """AArch64 exception
Variant={variant}
{{ 0:X1=x; 0:X3=y; 1:X1=x; 1:X3=y; }}
 P0          | P1          | P1.F           ;
 MOV W0,#1   | {first}     | {second}       ;
 STR W0,[X1] | CBNZ W5,L1  | CBNZ W5,L2     ;
 DMB ISH     | L1: SVC #0  | L2: ADR X9,L0  ;
 STR W0,[X3] | L0: {third} | MSR ELR_EL1,X9 ;
             |             | ERET           ;
exists (1:X5=1 /\\ 1:X7=0)
"""
FLAG, DATA = "LDR W5,[X3]", "LDR W7,[X1]"
ENTRY = {"first": FLAG, "second": DATA, "third": "NOP"}
RETURN = {"first": "NOP", "second": FLAG, "third": DATA}


@pytest.mark.parametrize(
    ("where", "variant", "observation"),
    [
        (ENTRY, "ifetch", "Never"),
        (ENTRY, "ifetch,ExS,EIS", "Never"),
        (RETURN, "ifetch", "Never"),
        (RETURN, "ifetch,EOS", "Never"),
        (RETURN, "ifetch,ExS,EIS,EOS", "Never"),
        (RETURN, "ifetch,ExS,EIS", "Sometimes"),
    ],
)
def test_exceptions_synchronise(where: dict[str, str], variant: str, observation: str) -> None:
    """A message's reader with an exception between its loads: with FEAT_ExS its return is a context
    synchronisation event only where SCTLR_ELx.EOS is set."""
    test = read(EXCEPTION.format(variant=variant, **where))
    assert run(test, test.model).observation == observation


def test_entry_without_eis_does_not_synchronise() -> None:
    """By Arm's text, an exception's entry is not a context synchronisation event where EIS is 0.
    herd7 7.58 says that it is, so a test of it is refused."""
    with pytest.raises(LitmusError, match="ExS without EIS"):
        read(EXCEPTION.format(variant="ifetch,ExS,EOS", **ENTRY))
    model = Model(unsynchronised=frozenset({"entry"}))
    assert run(read(EXCEPTION.format(variant="ifetch", **ENTRY)), model).observation == "Sometimes"

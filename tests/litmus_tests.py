"""Litmus tests with the architecture's verdicts, written by hand from the rules.

What was written for a difference with herd7 has the verdict of herd7 7.58. tests/herd7.py compares
all of them.

A test is its threads, one instruction a line, where a fault handler starts with its title, as in
P1.F; what the registers hold at the start; the outcome in question; and whether it is allowed with
(IDC, DIC) = (0, 0), (1, 0), (1, 1), as three letters: A allowed, F forbidden. One letter means all
three.
"""

from typing import NamedTuple


class Case(NamedTuple):
    """A test and its verdicts."""

    name: str
    text: str
    verdicts: str


def case(name: str, verdicts: str, init: str, condition: str, *threads: str) -> Case:
    """A case from its columns."""
    titles = [t[:4] if ".F" in t[:4] else f"P{i}" for i, t in enumerate(threads)]
    columns = [
        [line.strip() for line in thread.removeprefix(title).split(";")]
        for title, thread in zip(titles, threads)
    ]
    rows = max(map(len, columns))
    table = [[*column, *[""] * (rows - len(column))] for column in columns]
    lines = [" | ".join(titles) + " ;"]
    lines += [" | ".join(row) + " ;" for row in zip(*table)]
    text = f"AArch64 {name}\n{{ {init} }}\n" + "\n".join(lines) + f"\nexists ({condition})\n"
    return Case(name, text, verdicts * 3 if len(verdicts) == 1 else verdicts)


# Application level. P0 and P1 use x1 for &x, x3 for &y; x0=1, x2=2 are values.
XY = " ".join(f"{i}:X1=x; {i}:X3=y; {i}:X0=1; {i}:X2=2;" for i in range(4)) + " x=0; y=0; z=0;"
HANDLER = "P1.F ADR X10,back; MSR ELR_EL1,X10; ERET"  # returns to `back`
DEP = "EOR W6,W5,W5"  # a false dependency on what was read into W5

_mp_writers = {
    "po": "STR W0,[X1]; STR W0,[X3]",
    "dmb": "STR W0,[X1]; DMB ISH; STR W0,[X3]",
    "dsb": "STR W0,[X1]; DSB SY; STR W0,[X3]",
    "dmb.st": "STR W0,[X1]; DMB ISHST; STR W0,[X3]",
    "dsb.st": "STR W0,[X1]; DSB ST; STR W0,[X3]",
    "dmb.ld": "STR W0,[X1]; DMB ISHLD; STR W0,[X3]",
    "nsh": "STR W0,[X1]; DMB NSH; STR W0,[X3]",
    "rel": "STR W0,[X1]; STLR W0,[X3]",
    "swpl": "STR W0,[X1]; SWPL W0,W9,[X3]",
    "isb": "STR W0,[X1]; ISB; STR W0,[X3]",
}
_mp_readers = {
    "po": "LDR W5,[X3]; LDR W7,[X1]",
    "dmb": "LDR W5,[X3]; DMB SY; LDR W7,[X1]",
    "dmb.ld": "LDR W5,[X3]; DMB LD; LDR W7,[X1]",
    "dsb.ld": "LDR W5,[X3]; DSB ISHLD; LDR W7,[X1]",
    "dmb.st": "LDR W5,[X3]; DMB ST; LDR W7,[X1]",
    "addr": f"LDR W5,[X3]; {DEP}; LDR W7,[X1,W6,SXTW]",
    "ctrl": "LDR W5,[X3]; CBNZ W5,L; L: LDR W7,[X1]",
    "isb": "LDR W5,[X3]; ISB; LDR W7,[X1]",
    "ctrl-isb": "LDR W5,[X3]; CBNZ W5,L; L: ISB; LDR W7,[X1]",
    "tbz-isb": "LDR W5,[X3]; TBZ W5,#3,L; L: ISB; LDR W7,[X1]",
    "addr-isb": f"LDR W5,[X3]; {DEP}; LDR W8,[X1,W6,SXTW]; ISB; LDR W7,[X1]",
    "br-isb": "ADR X8,L; LDR W5,[X3]; EOR X6,X5,X5; ADD X8,X8,X6; BR X8; L: ISB; LDR W7,[X1]",
    "br": "ADR X8,L; LDR W5,[X3]; EOR X6,X5,X5; ADD X8,X8,X6; BR X8; L: LDR W7,[X1]",
    "ret-isb": "ADR X8,L; LDR W5,[X3]; EOR X6,X5,X5; ADD X8,X8,X6; RET X8; L: ISB; LDR W7,[X1]",
    "acq": "LDAR W5,[X3]; LDR W7,[X1]",
    "acqpc": "LDAPR W5,[X3]; LDR W7,[X1]",
    "excl-acq": "LDAXR W5,[X3]; LDR W7,[X1]",
    "excl": "LDXR W5,[X3]; LDR W7,[X1]",
    "swpa": "MOV W8,#0; SWPA W8,W5,[X3]; LDR W7,[X1]",
    "casa": "MOV W5,#1; MOV W8,#3; CASA W5,W8,[X3]; LDR W7,[X1]",
    "csel": "LDR W5,[X3]; CMP W5,#1; CSEL X6,X1,X1,EQ; LDR W7,[X6]",
    "svc": "LDR W5,[X3]; SVC #0; back: LDR W7,[X1]",
    "ctrl-svc": "LDR W5,[X3]; CBNZ W5,L; L: SVC #0; back: LDR W7,[X1]",
}
_strong_writer = {"dmb", "dsb", "dmb.st", "dsb.st", "rel", "swpl"}
_strong_reader = {
    "dmb", "dmb.ld", "dsb.ld", "addr", "ctrl-isb", "tbz-isb", "addr-isb", "acq", "acqpc",
    "excl-acq", "swpa", "casa", "ctrl-svc", "br-isb", "ret-isb",
}  # fmt: skip
MESSAGE_PASSING = [
    case(
        f"MP+{w}+{r}", "F" if w in _strong_writer and r in _strong_reader else "A",
        XY, "1:X5=1 /\\ 1:X7=0", writer, reader, *[HANDLER][: "SVC" in reader],
    )
    for w, writer in _mp_writers.items() for r, reader in _mp_readers.items()
]  # fmt: skip

_sb = {
    "po": "STR W0,[{}]; LDR W5,[{}]",
    "dmb": "STR W0,[{}]; DMB ISH; LDR W5,[{}]",
    "dsb": "STR W0,[{}]; DSB ISH; LDR W5,[{}]",
    "dmb.st": "STR W0,[{}]; DMB ISHST; LDR W5,[{}]",
    "dsb.st": "STR W0,[{}]; DSB ISHST; LDR W5,[{}]",
    "dmb.ld": "STR W0,[{}]; DMB ISHLD; LDR W5,[{}]",
    "rel-acq": "STLR W0,[{}]; LDAR W5,[{}]",
    "rel-acqpc": "STLR W0,[{}]; LDAPR W5,[{}]",
    "rel": "STLR W0,[{}]; LDR W5,[{}]",
    "isb": "STR W0,[{}]; ISB; LDR W5,[{}]",
}
# DSB ST, unlike DMB ST, holds back everything after it.
STORE_BUFFERING = [
    case(
        f"SB+{a}+{b}", "F" if {a, b} <= {"dmb", "dsb", "dsb.st", "rel-acq"} else "A",
        XY, "0:X5=0 /\\ 1:X5=0", _sb[a].format("X1", "X3"), _sb[b].format("X3", "X1"),
    )
    for a in _sb for b in _sb
]  # fmt: skip

_lb = {
    "po": "LDR W5,[{}]; STR W0,[{}]",
    "data": "LDR W5,[{}]; EOR W6,W5,W5; ADD W6,W6,#1; STR W6,[{}]",
    "addr": f"LDR W5,[{{}}]; {DEP}; STR W0,[{{}},W6,SXTW]",
    "ctrl": "LDR W5,[{}]; CBNZ W5,L; L: STR W0,[{}]",
    "csel": "LDR W5,[{}]; CMP W5,#1; CSEL W6,W0,W0,EQ; STR W6,[{}]",
    "csel-ctrl": "LDR W5,[{}]; CMP W5,#1; CSET W6,EQ; CBNZ W6,L; L: STR W0,[{}]",
    "addr-po": f"LDR W5,[{{}}]; {DEP}; LDR W7,[X9,W6,SXTW]; STR W0,[{{}}]",
    "csel-addr-po": "LDR W5,[{}]; CMP W5,#1; CSEL X6,X9,X9,EQ; LDR W7,[X6]; STR W0,[{}]",
    "isb": "LDR W5,[{}]; ISB; STR W0,[{}]",
    "dmb": "LDR W5,[{}]; DMB ISH; STR W0,[{}]",
    "dmb.ld": "LDR W5,[{}]; DMB ISHLD; STR W0,[{}]",
    "dmb.st": "LDR W5,[{}]; DMB ISHST; STR W0,[{}]",
    "acq": "LDAR W5,[{}]; STR W0,[{}]",
    "acqpc": "LDAPR W5,[{}]; STR W0,[{}]",
    "rel": "LDR W5,[{}]; STLR W0,[{}]",
}
LOAD_BUFFERING = [
    case(
        f"LB+{a}+{b}", "A" if {a, b} & {"po", "isb", "dmb.st"} else "F",
        XY + " 0:X9=z; 1:X9=z;", "0:X5=1 /\\ 1:X5=1",
        _lb[a].format("X1", "X3"), _lb[b].format("X3", "X1"),
    )
    for a in _lb for b in _lb if a <= b
]  # fmt: skip

_ww = {
    "po": "STR {0},[{2}]; STR {1},[{3}]",
    "dmb": "STR {0},[{2}]; DMB ISH; STR {1},[{3}]",
    "dmb.st": "STR {0},[{2}]; DMB ISHST; STR {1},[{3}]",
    "dmb.ld": "STR {0},[{2}]; DMB ISHLD; STR {1},[{3}]",
    "rel": "STR {0},[{2}]; STLR {1},[{3}]",
}
_strong_ww = {"dmb", "dmb.st", "rel"}
TWO_PLUS_TWO_W = [
    case(
        f"2+2W+{a}+{b}", "F" if {a, b} <= _strong_ww else "A", XY, "x=1 /\\ y=1",
        _ww[a].format("W0", "W2", "X1", "X3"), _ww[b].format("W0", "W2", "X3", "X1"),
    )
    for a in _ww for b in _ww
]  # fmt: skip
S = [
    case(
        f"S+{a}+{b}", "F" if a in _strong_ww and b not in ("po", "isb", "dmb.st") else "A",
        XY + " 1:X9=z;", "1:X5=1 /\\ x=2",
        _ww[a].format("W2", "W0", "X1", "X3"), _lb[b].format("X3", "X1"),
    )
    for a in _ww for b in _lb
]  # fmt: skip
R = [
    case(
        f"R+{a}+{b}", "F" if a in _strong_ww and b in ("dmb", "dsb", "dsb.st", "rel-acq") else "A",
        XY, "y=2 /\\ 1:X5=0",
        _ww[a].format("W0", "W0", "X1", "X3"), _sb[b].replace("W0", "W2").format("X3", "X1"),
    )
    for a in _ww for b in _sb
]  # fmt: skip

_wrc_middle = {
    "po": "LDR W5,[X1]; STR W0,[X3]",
    "data": "LDR W5,[X1]; STR W5,[X3]",
    "ctrl": "LDR W5,[X1]; CBNZ W5,L; L: STR W0,[X3]",
    "rel": "LDR W5,[X1]; STLR W0,[X3]",
    "dmb": "LDR W5,[X1]; DMB ISH; STR W0,[X3]",
}
_strong_last = ("addr", "acq", "dmb")
WRC = [
    case(
        f"WRC+{a}+{b}", "F" if a != "po" and b in _strong_last else "A", XY,
        "1:X5=1 /\\ 2:X5=1 /\\ 2:X7=0", "STR W0,[X1]", _wrc_middle[a], _mp_readers[b],
    )
    for a in _wrc_middle for b in (*_strong_last, "po", "ctrl")
]  # fmt: skip
IRIW = [
    case(
        f"IRIW+{a}+{b}", "F" if {a, b} <= {*_strong_last, "acqpc"} else "A", XY,
        "2:X5=1 /\\ 2:X7=0 /\\ 3:X5=1 /\\ 3:X7=0", "STR W0,[X1]", "STR W0,[X3]",
        _mp_readers[a], _mp_readers[b].replace("X1", "X9").replace("X3", "X1").replace("X9", "X3"),
    )
    for a in (*_strong_last, "acqpc", "po", "ctrl") for b in (*_strong_last, "acqpc", "po", "ctrl")
    if a <= b
]  # fmt: skip

COHERENCE = [
    case("CoRR", "F", XY, "1:X5=1 /\\ 1:X7=0", "STR W0,[X1]", "LDR W5,[X1]; LDR W7,[X1]"),
    case("CoWW", "F", XY, "x=1", "STR W0,[X1]; STR W2,[X1]"),
    case("CoRW1", "F", XY, "0:X5=1", "LDR W5,[X1]; STR W0,[X1]", "STR W2,[X1]"),
    case("CoRW2", "F", XY, "0:X5=2 /\\ x=2", "LDR W5,[X1]; STR W0,[X1]", "STR W2,[X1]"),
    case("CoWR", "F", XY, "0:X5=0", "STR W0,[X1]; LDR W5,[X1]"),
    case("CoWR-other", "F", XY, "0:X5=2 /\\ x=1", "STR W0,[X1]; LDR W5,[X1]", "STR W2,[X1]"),
    case("CoWR-later", "A", XY, "0:X5=2 /\\ x=2", "STR W0,[X1]; LDR W5,[X1]", "STR W2,[X1]"),
    case("MP+dmb+rfi-addr", "A", XY + " 1:X9=z;", "1:X5=1 /\\ 1:X7=0",
         _mp_writers["dmb"], "LDR W5,[X3]; STR W0,[X9]; LDR W8,[X9]; EOR W6,W8,W8; "
         "LDR W7,[X1,W6,SXTW]"),
    case("MP+dmb+data-rfi-addr", "F", XY + " 1:X9=z;", "1:X5=1 /\\ 1:X7=0",
         _mp_writers["dmb"], "LDR W5,[X3]; STR W5,[X9]; LDR W8,[X9]; EOR W6,W8,W8; "
         "LDR W7,[X1,W6,SXTW]"),
    case("MP+dmb+addr-rfi-addr", "F", XY + " 1:X9=z;", "1:X5=1 /\\ 1:X7=0",
         _mp_writers["dmb"], "LDR W5,[X3]; EOR W6,W5,W5; STR W0,[X9,W6,SXTW]; LDR W8,[X9]; "
         "EOR W6,W8,W8; LDR W7,[X1,W6,SXTW]"),
    case("MP+dmb+addr-rfi-acq", "F", XY + " 1:X9=z;", "1:X5=1 /\\ 1:X7=0",
         _mp_writers["dmb"], "LDR W5,[X3]; EOR W6,W5,W5; STR W0,[X9,W6,SXTW]; LDAR W8,[X9]; "
         "LDR W7,[X1]"),
    case("MP+dmb+data-rfi-acq", "F", XY + " 1:X9=z;", "1:X5=1 /\\ 1:X7=0",
         _mp_writers["dmb"], "LDR W5,[X3]; STR W5,[X9]; LDAR W8,[X9]; LDR W7,[X1]"),
    # A 64-bit store is seen whole, and so is its order with others.
    case("64-bit", "F", "0:X1=x; 0:X0=0x100000001; 1:X1=x; uint64_t x; uint64_t 1:X5;",
         "~(1:X5=0 \\/ 1:X5=0x100000001)", "STR X0,[X1]", "LDR X5,[X1]"),
    case("mixed-size", "F", "0:X1=x; 0:X0=0x100000001; 1:X1=x; uint64_t x;",
         "1:X5=1 /\\ 1:X7=0", "STR X0,[X1]", "LDR W5,[X1]; DMB LD; LDR W7,[X1,#4]"),
    case("torn-pair", "A", "0:X1=x; 0:X0=1; 1:X1=x; uint64_t x[2];",
         "1:X5=1 /\\ 1:X7=0", "STP X0,X0,[X1]", "LDP X7,X5,[X1]"),
]  # fmt: skip

ATOMICS = [
    case("LDADD+LDADD", "F", XY, "x=1", "LDADD W0,W5,[X1]", "LDADD W0,W5,[X1]"),
    case("LDXR+STXR", "F", XY, "0:X9=0 /\\ 1:X9=0 /\\ 0:X5=0 /\\ 1:X5=0",
         "LDXR W5,[X1]; STXR W9,W0,[X1]", "LDXR W5,[X1]; STXR W9,W2,[X1]"),
    case("LDXR+STXR-write", "F", XY, "0:X9=0 /\\ 0:X5=0 /\\ x=1 /\\ 1:X6=2",
         "LDXR W5,[X1]; STXR W9,W0,[X1]", "STR W2,[X1]; LDR W6,[X1]; STR W6,[X3]"),
    case("STXR-alone", "F", XY, "0:X9=0", "STXR W9,W0,[X1]"),
    case("STXR-fails", "A", XY, "0:X9=1 /\\ x=0", "LDXR W5,[X1]; STXR W9,W0,[X1]"),
    case("CAS+CAS", "F", XY, "0:X5=0 /\\ 1:X5=0", "CAS W5,W0,[X1]", "CAS W5,W2,[X1]"),
    case("CAS-fails", "F", XY + "0:X5=3;", "x=1", "CAS W5,W0,[X1]"),
    case("SB+swpal", "F", XY + "0:X9=z; 1:X9=z;", "0:X5=0 /\\ 1:X5=0",
         "STR W0,[X1]; SWPAL W0,W8,[X9]; LDR W5,[X3]", "STR W0,[X3]; DMB SY; LDR W5,[X1]"),
    case("SB+swpl", "A", XY + "0:X9=z; 1:X9=z;", "0:X5=0 /\\ 1:X5=0",
         "STR W0,[X1]; SWPL W0,W8,[X9]; LDR W5,[X3]", "STR W0,[X3]; DMB SY; LDR W5,[X1]"),
    case("SB+swpa", "A", XY + "0:X9=z; 1:X9=z;", "0:X5=0 /\\ 1:X5=0",
         "STR W0,[X1]; SWPA W0,W8,[X9]; LDR W5,[X3]", "STR W0,[X3]; DMB SY; LDR W5,[X1]"),
    # LDADD whose result is not used does not count as a read for DMB LD.
    case("MP+dmb+stadd-dmb.ld", "A", XY, "y=2 /\\ 1:X7=0",
         _mp_writers["dmb"], "STADD W0,[X3]; DMB LD; LDR W7,[X1]"),
    case("MP+dmb+ldadd-dmb.ld", "F", XY, "y=2 /\\ 1:X5=1 /\\ 1:X7=0",
         _mp_writers["dmb"], "LDADD W0,W5,[X3]; DMB LD; LDR W7,[X1]"),
    case("MP+dmb+rmw-rfi-acq", "F", XY, "1:X5=1 /\\ 1:X8=2 /\\ 1:X7=0",
         _mp_writers["dmb"], "LDADD W0,W5,[X3]; LDAR W8,[X3]; LDR W7,[X1]"),
]  # fmt: skip
DEPENDENCIES = [
    # po-loc orders a read with a later write to the same location.
    case("LB+dmb+lws-dmb.st", "F", XY, "0:X5=1 /\\ 1:X5=1", "LDR W5,[X1]; DMB SY; STR W0,[X3]",
         "LDR W5,[X3]; STR W2,[X3]; DMB ST; STR W0,[X1]"),
    case("LB+dmb+lws-wide", "F", "0:X1=y; 1:X1=y; 0:X0=1; 1:X0=0x200000002; uint64_t y;",
         "0:X5=2 /\\ 1:X5=1", "LDR W5,[X1,#4]; DMB SY; STR W0,[X1]", "LDR W5,[X1]; STR X0,[X1]"),
    # A DC keeps its order before a write to its line.
    case("LB+dmb+addr-dc-scl", "F", XY, "0:X5=1 /\\ 1:X5=1", "LDR W5,[X1]; DMB SY; STR W0,[X3]",
         "LDR W5,[X3]; EOR X6,X5,X5; ADD X7,X1,X6; DC CVAU,X7; STR W0,[X1]"),
    case("LB+dmb+addr-dc", "A", XY + "1:X9=z;", "0:X5=1 /\\ 1:X5=1",
         "LDR W5,[X1]; DMB SY; STR W0,[X3]",
         "LDR W5,[X3]; EOR X6,X5,X5; ADD X7,X9,X6; DC CVAU,X7; STR W0,[X1]"),
    case("S+dmb+csel-rfi-acq", "F", XY + "1:X9=z;", "1:X5=1 /\\ x=2",
         _ww["dmb"].format("W2", "W0", "X1", "X3"),
         "LDR W5,[X3]; CMP W5,#1; CSEL W6,W0,W0,EQ; STR W6,[X9]; LDAR W7,[X9]; STR W0,[X1]"),
    case("MP+dmb+csel-rfi-acq", "A", XY + "1:X9=z;", "1:X5=1 /\\ 1:X7=0",
         _mp_writers["dmb"],
         "LDR W5,[X3]; CMP W5,#1; CSEL W6,W0,W0,EQ; STR W6,[X9]; LDAR W8,[X9]; LDR W7,[X1]"),
    # A CSEL's result, stored and read back, and what is ordered after that.
    case("S+dmb+csel-rfi-data", "F", XY + "1:X9=z;", "1:X5=1 /\\ x=2",
         _ww["dmb"].format("W2", "W0", "X1", "X3"),
         "LDR W5,[X3]; CMP W5,#1; CSEL W6,W0,W0,EQ; STR W6,[X9]; LDR W7,[X9]; EOR W8,W7,W7; "
         "ADD W8,W8,#1; STR W8,[X1]"),
    case("MP+dmb+csel-rfi-addr", "A", XY + "1:X9=z;", "1:X5=1 /\\ 1:X7=0",
         _mp_writers["dmb"],
         "LDR W5,[X3]; CMP W5,#1; CSEL W6,W0,W0,EQ; STR W6,[X9]; LDR W8,[X9]; EOR W6,W8,W8; "
         "LDR W7,[X1,W6,SXTW]"),
]  # fmt: skip

# Which registers an instruction's results and stores depend on. The verdicts are herd7's.
_pair = "0:X1=x; 0:X3=y; 1:X1=x; 1:X3=y; 0:X0=1; 0:X2=2; uint64_t x[2]; uint64_t y[2];"
_flag_is_0 = "0:X1=x; 0:X3=y; 1:X1=x; 1:X3=y; 0:X0=1; 1:X2=2; int x=0; int y=1;"
_mp = _mp_writers["dmb"]
_mp_0 = "STR W0,[X1]; DMB ISH; STR WZR,[X3]"
_load = "EOR W6,{0},{0}; LDR W7,[X1,W6,SXTW]"
_s = _ww["dmb"].format("W2", "W0", "X1", "X3")
_store = "EOR W6,{0},{0}; STR W0,[X1,W6,SXTW]"
RESULTS = [
    # The two registers of LDP and LDXP depend on their own loads only.
    case("MP+dmb+ldp-first", "F", _pair, "1:X5=1 /\\ 1:X7=0",
         _mp, "LDP X5,X8,[X3]; " + _load.format("W5")),
    case("MP+dmb+ldp-second", "A", _pair, "1:X5=1 /\\ 1:X7=0",
         _mp, "LDP X5,X8,[X3]; " + _load.format("W8")),
    case("MP+dmb+ldxp-second", "F", _pair, "1:X5=1 /\\ 1:X7=0",
         _mp, "LDXP X5,X8,[X3]; " + _load.format("W8")),
    # A CAS that succeeds: memory only picked what its first register holds.
    case("MP+dmb+cas-addr", "A", XY, "y=2 /\\ 1:X7=0",
         _mp, "MOV W5,#1; CAS W5,W2,[X3]; " + _load.format("W5")),
    case("S+dmb+cas-addr", "F", XY, "y=3 /\\ x=2",
         _s, "MOV W5,#1; MOV W8,#3; CAS W5,W8,[X3]; " + _store.format("W5")),
    case("MP+dmb+cas-fails-addr", "F", XY, "1:X5=1 /\\ 1:X7=0",
         _mp, "MOV W5,#3; CAS W5,W2,[X3]; " + _load.format("W5")),
    case("MP+dmb+casp-addr", "A", _pair, "y[0]=2 /\\ 1:X7=0", _mp,
         "MOV X4,#1; MOV X5,#0; MOV X8,#2; MOV X9,#0; CASP X4,X5,X8,X9,[X3]; "
         + _load.format("W5")),
    # It may be what the register held, or what was read: so it depends on neither alone.
    case("MP+dmb+held-cas-addr", "A", XY + "1:X9=z;", "1:X5=1 /\\ z=2 /\\ 1:X7=0", _mp,
         "LDR W5,[X3]; EOR W8,W5,W5; CAS W8,W2,[X9]; " + _load.format("W8")),
    # One that fails may write back what it read, from where a later load takes it early.
    case("MP+dmb+cas-fails-rfi-addr", "A", XY, "1:X5=1 /\\ 1:X8=1 /\\ 1:X7=0", _mp,
         "MOV W5,#3; CAS W5,W2,[X3]; LDR W8,[X3]; " + _load.format("W8")),
    case("CASP-writes-back", "A",
         "0:X1=x; 1:X1=x; 0:X4=1; 0:X5=1; 0:X2=0; 0:X3=0; 1:X2=0; 1:X3=0; uint64_t x[2];",
         "x[0]=1 /\\ x[1]=0", "CASP X2,X3,X4,X5,[X1]", "CASP X2,X3,X2,X3,[X1]"),
    # An atomic without a result does not acquire, and DMB LD does not wait for it.
    case("MP+dmb+cas-wzr-dmb.ld", "A", _flag_is_0, "y=2 /\\ 1:X7=0",
         _mp_0, "CAS WZR,W2,[X3]; DMB LD; LDR W7,[X1]"),
    case("MP+dmb+casa-wzr", "A", _flag_is_0, "y=2 /\\ 1:X7=0",
         _mp_0, "CASA WZR,W2,[X3]; LDR W7,[X1]"),
    case("MP+dmb-0+casa", "F", _flag_is_0, "y=2 /\\ 1:X7=0",
         _mp_0, "MOV W5,#0; CASA W5,W2,[X3]; LDR W7,[X1]"),
    case("MP+dmb+swpa-wzr", "A", XY, "y=2 /\\ 1:X7=0", _mp, "SWPA W2,WZR,[X3]; LDR W7,[X1]"),
    case("MP+dmb+ldadda-wzr", "A", XY, "y=3 /\\ 1:X7=0",
         _mp, "LDADDA W2,WZR,[X3]; LDR W7,[X1]"),
    # What an atomic stores depends on what it loaded; what a CAS stores, by pick.
    case("MP+dmb+ldadd-rfi-addr", "F", XY, "1:X5=1 /\\ 1:X8=3 /\\ 1:X7=0",
         _mp, "LDADD W2,W5,[X3]; LDR W8,[X3]; " + _load.format("W8")),
    case("MP+dmb+ldset-rfi-addr", "F", XY, "1:X5=1 /\\ 1:X8=3 /\\ 1:X7=0",
         _mp, "LDSET W2,W5,[X3]; LDR W8,[X3]; " + _load.format("W8")),
    case("MP+dmb+swp-rfi-addr", "A", XY, "1:X5=1 /\\ 1:X8=2 /\\ 1:X7=0",
         _mp, "SWP W2,W5,[X3]; LDR W8,[X3]; " + _load.format("W8")),
    case("MP+dmb+cas-rfi-addr", "A", XY, "y=2 /\\ 1:X8=2 /\\ 1:X7=0",
         _mp, "MOV W5,#1; CAS W5,W2,[X3]; LDR W8,[X3]; " + _load.format("W8")),
    case("S+dmb+cas-rfi-addr", "F", XY, "y=3 /\\ 1:X8=3 /\\ x=2", _s,
         "MOV W5,#1; MOV W9,#3; CAS W5,W9,[X3]; LDR W8,[X3]; " + _store.format("W8")),
    # LDXP and STXP are one single-copy atomic access each; LDP is two, and CASP is.
    case("STXP-whole", "F", _pair, "0:X6=0 /\\ 1:X5=2 /\\ 1:X7=0",
         "LDXP X4,X5,[X1]; STXP W6,X0,X2,[X1]", "LDR X5,[X1,#8]; DMB SY; LDR X7,[X1]"),
    case("STXP+LDXP", "F", _pair, "0:X6=0 /\\ 1:X5=1 /\\ 1:X7=0",
         "LDXP X4,X5,[X1]; STXP W6,X0,X2,[X1]", "LDXP X5,X7,[X1]"),
    case("STXP+LDP", "A", _pair, "0:X6=0 /\\ 1:X5=1 /\\ 1:X7=0",
         "LDXP X4,X5,[X1]; STXP W6,X0,X2,[X1]", "LDP X5,X7,[X1]"),
]  # fmt: skip

APPLICATION = [
    *MESSAGE_PASSING, *STORE_BUFFERING, *LOAD_BUFFERING, *TWO_PLUS_TWO_W, *S, *R, *WRC, *IRIW,
    *COHERENCE, *ATOMICS, *DEPENDENCIES, *RESULTS,
]  # fmt: skip

# Instruction fetch. The word at `slot` in P1 is a B to `old`; NOP there falls through to what
# follows it, so X9=1 means that the new one was fetched.
_code = '0:X0=instr:"NOP"; 0:X1=P1:slot; 0:X3=y; 0:X4=1; 1:X3=y; 1:X1=P1:slot; 1:X9=2;'
_clean = "DC CVAU,X1; DSB ISH; IC IVAU,X1; DSB ISH; "
_clean_all = "DC CVAU,X1; DSB ISH; IC IALLUIS; DSB ISH; "
_slot = "slot: B old; MOV W9,#1; B end; old: MOV W9,#0; end:"


def _data(between: str, reader: str = "LDR W5,[X3]") -> tuple[str, str]:
    return (
        f"STR W4,[X3]; {between}STR W0,[X1]",
        f"slot: B old; MOV W9,#1; {reader}; B end; old: MOV W9,#0; end:",
    )


def _flag(publish: str, wait: str, change: str = "STR W0,[X1]; ") -> tuple[str, str]:
    return f"{change}{publish}STR W4,[X3]", f"LDR W5,[X3]; {wait}{_slot}"


def _again(middle: str = "") -> str:
    """Fetches the slot by BL twice: the first result is in X8, the second in X9."""
    return (
        f"BL slot; MOV W8,W9; {middle}BL slot; B end; "
        "slot: B old; MOV W9,#1; RET; old: MOV W9,#0; RET; end:"
    )


def _self(maintenance: str) -> str:
    return f"STR W0,[X1]; {maintenance}{_slot}"


_one = '0:X0=instr:"NOP"; 0:X1=P0:slot; 0:X9=2;'
_new_then_old_data = "1:X9=1 /\\ 1:X5=0"
_stale = "1:X5=1 /\\ 1:X9=0"

# Code at `fresh`, a B to `old` at first; reached through the slot, or through the pointer at y.
_fresh = '0:X0=instr:"NOP"; 0:X1=P1:fresh; 0:X7=P1:slot; 0:X8=instr:"NOP"; 1:X9=2;'
_pointer = '0:X0=instr:"NOP"; 0:X1=P1:fresh; 0:X3=y; 0:X6=P1:fresh; [y]=P1:other; 1:X3=y; 1:X9=2;'
_by_branch = (
    f"STR W0,[X1]; {_clean}STR W8,[X7]",
    "slot: B end; MOV W8,#1; fresh: B old; MOV W9,#1; B end; old: MOV W9,#0; end:",
)


def _by_pointer(reader: str, publish: str = _clean) -> tuple[str, str]:
    return (
        f"STR W0,[X1]; {publish}STR X6,[X3]",
        f"LDR X5,[X3]; {reader}BR X5; fresh: B old; MOV W9,#1; B end; old: MOV W9,#0; B end; "
        "other: MOV W9,#3; end:",
    )


_pointer_stale = "1:X5=P1:fresh /\\ 1:X9=0"

IFETCH = [
    # Data, then an instruction: a PE that fetches the new one sees the data.
    case("data+dmb.st+insn", "F", _code, _new_then_old_data, *_data("DMB ISHST; ")),
    case("data+dmb+insn", "F", _code, _new_then_old_data, *_data("DMB ISH; ")),
    case("data+dsb+insn", "F", _code, _new_then_old_data, *_data("DSB ISH; ")),
    case("data+insn", "A", _code, _new_then_old_data, *_data("")),
    case("data+dmb.ld+insn", "A", _code, _new_then_old_data, *_data("DMB ISHLD; ")),
    case("data+isb+insn", "A", _code, _new_then_old_data, *_data("ISB; ")),
    # ... and the effects of the new instruction itself come after its fetch.
    case("data+dmb.st+insn-itself", "F",
         '0:X0=instr:"LDR W5,[X3]"; 0:X1=P1:slot; 0:X3=y; 0:X4=1; 1:X3=y; 1:X5=2;',
         "1:X5=0", "STR W4,[X3]; DMB ST; STR W0,[X1]", "slot: NOP"),
    # A fetch is before what follows it: a write, a DC, an IC with what they order.
    case("fetch+write", "F", _code, "1:X9=1 /\\ 0:X5=1", "LDR W5,[X3]; DMB ISH; STR W0,[X1]",
         "slot: B end; MOV W9,#1; STR W9,[X3]; end:"),
    case("fetch-own-later-write", "F", '0:X0=instr:"NOP"; 0:X1=P0:slot; 0:X9=2;', "0:X9=1",
         "slot: B old; MOV W9,#1; B end; old: MOV W9,#0; STR W0,[X1]; end:"),
    # IC IALLUIS is an IC of every line: see "code, then a flag" for the same with IC IVAU.
    case("code+clean-all+flag", "F", _code, _stale,
         *_flag(_clean_all, "CBZ W5,L; L: ISB; ")),
    case("code+invalidate-all+flag", "AFF", _code, _stale,
         *_flag("DSB ISH; IC IALLUIS; DSB ISH; ", "CBZ W5,L; L: ISB; ")),
    case("code+clean-all+flag-no-isb", "A", _code, _stale, *_flag(_clean_all, "")),
    case("self+clean-all", "F", _one, "0:X9=0", _self(_clean_all + "ISB; ")),
    case("self+invalidate-all-no-dsb", "AAF", _one, "0:X9=0", _self("DSB ISH; IC IALLUIS; ISB; ")),
    # Code, cleaned and invalidated, then a branch to it.
    case("code+clean+branch", "F", _fresh, "1:X8=1 /\\ 1:X9=0", *_by_branch),
    case("code+branch", "A", _fresh, "1:X8=1 /\\ 1:X9=0",
         "STR W0,[X1]; STR W8,[X7]", _by_branch[1]),
    case("code+dsb+branch", "AAF", _fresh, "1:X8=1 /\\ 1:X9=0",
         "STR W0,[X1]; DSB ISH; STR W8,[X7]", _by_branch[1]),
    case("code+dc-dsb+branch", "AAF", _fresh, "1:X8=1 /\\ 1:X9=0",
         "STR W0,[X1]; DC CVAU,X1; DSB ISH; STR W8,[X7]", _by_branch[1]),
    case("code+ic-dsb+branch", "AFF", _fresh, "1:X8=1 /\\ 1:X9=0",
         "STR W0,[X1]; DSB ISH; IC IVAU,X1; DSB ISH; STR W8,[X7]", _by_branch[1]),
    # The same with a pointer instead of the branch: nothing orders the fetch after the load.
    case("code+clean+pointer", "A", _pointer, _pointer_stale, *_by_pointer("")),
    case("code+clean+pointer-isb", "A", _pointer, _pointer_stale, *_by_pointer("ISB; ")),
    case("code+clean+pointer-ctrl", "A", _pointer, _pointer_stale,
         *_by_pointer("CBNZ X5,L; L: ")),
    case("code+clean+pointer-ctrl-isb", "F", _pointer, _pointer_stale,
         *_by_pointer("CBNZ X5,L; L: ISB; ")),
    case("code+clean+pointer-acq", "A", _pointer, _pointer_stale,
         *(t.replace("LDR X5", "LDAR X5") for t in _by_pointer(""))),
    case("code+clean+pointer-acq-isb", "A", _pointer, _pointer_stale,
         *(t.replace("LDR X5", "LDAR X5") for t in _by_pointer("ISB; "))),
    case("code+clean+pointer-dsb-isb", "F", _pointer, _pointer_stale,
         *_by_pointer("DSB LD; ISB; ")),
    case("code+clean+pointer-dmb-isb", "A", _pointer, _pointer_stale,
         *_by_pointer("DMB SY; ISB; ")),
    case("code+clean+pointer-ctrl-svc", "F", _pointer, _pointer_stale,
         *(t.replace("BR X5; ", "") for t in _by_pointer("CBNZ X5,L; L: SVC #0; ")),
         "P1.F BR X5"),  # herd7 takes a label before a branch to a loaded address for a loop
    # Code, then a flag.
    case("code+clean+flag-ctrl-isb", "F", _code, _stale,
         *_flag(_clean, "CBNZ W5,L; L: ISB; ")),
    case("code+clean+flag-ctrl", "A", _code, _stale, *_flag(_clean, "CBNZ W5,L; L: ")),
    case("code+clean+flag-isb", "A", _code, _stale, *_flag(_clean, "ISB; ")),
    case("code+clean+flag-dsb-isb", "F", _code, _stale, *_flag(_clean, "DSB ISH; ISB; ")),
    case("code+clean+flag-dsb", "A", _code, _stale, *_flag(_clean, "DSB ISH; ")),
    case("code+clean+flag-dsb.st-isb", "A", _code, _stale, *_flag(_clean, "DSB ST; ISB; ")),
    case("code+clean+flag-csel-isb", "F", _code, _stale,
         *_flag(_clean, "CMP W5,#1; CSET W6,EQ; CBNZ W6,L; L: ISB; ")),
    case("code+clean+flag-addr-isb", "F", _code, _stale,
         *_flag(_clean, "EOR W6,W5,W5; LDR W7,[X3,W6,SXTW]; ISB; ")),
    case("code+clean+flag-addr", "A", _code, _stale,
         *_flag(_clean, "EOR W6,W5,W5; LDR W7,[X3,W6,SXTW]; ")),
    case("code+clean+flag-csel-addr-isb", "F", _code, _stale,
         *_flag(_clean, "CMP W5,#1; CSEL X6,X3,X3,EQ; LDR W7,[X6]; ISB; ")),
    case("code+none+flag", "AAA", _code, _stale, *_flag("", "CBNZ W5,L; L: ISB; ")),
    case("code+dmb.st+flag", "AAF", _code, _stale, *_flag("DMB ST; ", "CBNZ W5,L; L: ISB; ")),
    case("code+dsb+flag", "AAF", _code, _stale, *_flag("DSB ISH; ", "CBNZ W5,L; L: ISB; ")),
    case("code+dc-dsb+flag", "AAF", _code, _stale,
         *_flag("DC CVAU,X1; DSB ISH; ", "CBNZ W5,L; L: ISB; ")),
    case("code+dsb-ic-dsb+flag", "AFF", _code, _stale,
         *_flag("DSB ISH; IC IVAU,X1; DSB ISH; ", "CBNZ W5,L; L: ISB; ")),
    case("code+ic-dsb+flag", "AAF", _code, _stale,
         *_flag("IC IVAU,X1; DSB ISH; ", "CBNZ W5,L; L: ISB; ")),
    # IC without a DSB after it promises nothing; DMB does not wait for it.
    case("code+clean-dmb+flag", "AAF", _code, _stale,
         *_flag("DC CVAU,X1; DSB ISH; IC IVAU,X1; DMB ISH; ", "CBNZ W5,L; L: ISB; ")),
    # DMB is enough between a write or a DC and the other PE's IC, which the flag brings about.
    case("code+dc-dmb+flag-ctrl-ic", "F", _code, _stale,
         *_flag("DC CVAU,X1; DMB ISH; ", "CBNZ W5,L; L: IC IVAU,X1; DSB ISH; ISB; ")),
    case("code+dc-dmb.st+flag-ctrl-ic", "AFF", _code, _stale,
         *_flag("DC CVAU,X1; DMB ST; ", "CBNZ W5,L; L: IC IVAU,X1; DSB ISH; ISB; ")),
    case("code+dmb+flag-dmb-dc-dsb-ic", "F", _code, _stale,
         *_flag("DMB ISH; ", "DMB ISH; DC CVAU,X1; DSB ISH; IC IVAU,X1; DSB ISH; ISB; ")),
    case("code+dmb+flag-addr-dc-dsb-ic", "F", _code, _stale,
         *_flag("DMB ISH; ", "EOR X6,X5,X5; ADD X7,X1,X6; DC CVAU,X7; DSB ISH; IC IVAU,X1; "
                "DSB ISH; ISB; ")),
    case("code+dmb+flag-csel-dc-dsb-ic", "F", _code, _stale,
         *_flag("DMB ISH; ", "CMP W5,#1; CSEL X7,X1,X1,EQ; DC CVAU,X7; DSB ISH; IC IVAU,X1; "
                "DSB ISH; ISB; ")),
    # The same PE.
    case("self+clean-isb", "F", _one, "0:X9=0", _self(_clean + "ISB; ")),
    case("self+clean", "A", _one, "0:X9=0", _self(_clean)),
    case("self+dsb-isb", "AAF", _one, "0:X9=0", _self("DSB ISH; ISB; ")),
    case("self+dsb-ic-dsb-isb", "AFF", _one, "0:X9=0",
         _self("DSB ISH; IC IVAU,X1; DSB ISH; ISB; ")),
    case("self+dsb.st-isb", "AAF", _one, "0:X9=0", _self("DSB ST; ISB; ")),
    case("self+dmb-isb", "A", _one, "0:X9=0", _self("DMB ISH; ISB; ")),
    case("self+isb", "A", _one, "0:X9=0", _self("ISB; ")),
    case("self+none", "A", _one, "0:X9=0", _self("")),
    case("self+clean-isb-then-old", "F", _one, "0:X9=0",
         _self("DC CVAU,X1; DSB ISH; IC IVAU,X1; DSB ISH; ISB; ")),
    # The same word fetched twice.
    case("again", "AAF", _code, "1:X8=1 /\\ 1:X9=0", "STR W0,[X1]", _again()),
    case("again-isb", "AAF", _code, "1:X8=1 /\\ 1:X9=0", "STR W0,[X1]", _again("ISB; ")),
    case("again-dsb-isb", "AAF", _code, "1:X8=1 /\\ 1:X9=0", "STR W0,[X1]",
         _again("DSB ISH; ISB; ")),
    case("again-clean-isb", "F", _code, "1:X8=1 /\\ 1:X9=0", "STR W0,[X1]",
         "MOV X7,X30; " + _again(_clean + "ISB; ")),
    # Two words, by writes in order: a fetch of the second says nothing of the first ...
    case("two-words", "AAF",
         '0:X0=instr:"NOP"; 0:X1=P1:first; 0:X3=P1:second; 1:X8=2; 1:X9=2;',
         "1:X8=1 /\\ 1:X9=0", "STR W0,[X1]; DMB ST; STR W0,[X3]",
         "second: B skip; MOV W8,#1; skip: NOP; first: B old; MOV W9,#1; B end; old: MOV W9,#0; "
         "end:"),
    # ... until the first was cleaned and invalidated before the second was written.
    case("two-words-clean", "F",
         '0:X0=instr:"NOP"; 0:X1=P1:first; 0:X3=P1:second; 1:X8=2; 1:X9=2;',
         "1:X8=1 /\\ 1:X9=0", f"STR W0,[X1]; {_clean}STR W0,[X3]",
         "second: B skip; MOV W8,#1; skip: NOP; first: B old; MOV W9,#1; B end; old: MOV W9,#0; "
         "end:"),
    # A fetch comes after the IC that it must come after, and not only after what that IC cleaned.
    case("fetch+ic-fetch", "F",
         '0:X0=instr:"NOP"; 0:X1=P1:slot; 0:X2=P1:first; 0:X3=y; 1:X3=y; 1:X8=2; 1:X9=2;',
         "0:X5=1 /\\ 1:X8=1 /\\ 1:X9=1",
         "STR W0,[X1]; LDR W5,[X3]; CBNZ W5,L; L: IC IVAU,X1; DSB ISH; STR W0,[X2]",
         "first: B skip; MOV W8,#1; skip: NOP; slot: B old; MOV W9,#1; old: MOV W7,#1; "
         "STR W7,[X3]"),
    # After an IC that a fetch is before, and its DSB, no later fetch is held back, even by an ISB.
    case("three-words", "AAF",
         '0:X0=instr:"NOP"; 0:X1=P1:slot; 2:X0=instr:"NOP"; 2:X1=P0:other; 2:X3=P1:first; '
         "0:X8=2; 1:X8=2; 1:X9=2;",
         "0:X8=0 /\\ 1:X8=1 /\\ 1:X9=0",
         f"STR W0,[X1]; {_clean}ISB; other: B o; MOV W8,#1; B e; o: MOV W8,#0; e:",
         "first: B skip; MOV W8,#1; skip: NOP; slot: B old; MOV W9,#1; B end; old: MOV W9,#0; "
         "end:",
         f"STR W0,[X1]; {_clean}STR W0,[X3]"),
]  # fmt: skip


# Families with herd7's verdicts, for what diy7 does not reach.

_lines = _code + " 0:X13=P1:end;"  # X13: another cache line
_publish = {
    "dc-other-line": ("AFF", "DC CVAU,X13; DSB ISH; IC IVAU,X1; DSB ISH; "),
    "ic-other-line": ("AAF", "DC CVAU,X1; DSB ISH; IC IVAU,X13; DSB ISH; "),
    "dmb-dc-other-line": ("AFF", "DMB ISH; DC CVAU,X13; DSB ISH; IC IVAU,X1; DSB ISH; "),
    "clean-no-dsb": ("AAF", "DC CVAU,X1; DSB ISH; IC IVAU,X1; "),
    "clean-dsb.st": ("AAF", "DC CVAU,X1; DSB ISH; IC IVAU,X1; DSB ISHST; "),
    "clean-dsb.ld": ("AAF", "DC CVAU,X1; DSB ISH; IC IVAU,X1; DSB ISHLD; "),
    "dc-dsb.st-ic": ("AFF", "DC CVAU,X1; DSB ISHST; IC IVAU,X1; DSB ISH; "),
    "dc-dsb.ld-ic": ("AAF", "DC CVAU,X1; DSB ISHLD; IC IVAU,X1; DSB ISH; "),
    "dc-dmb-ic": ("AAF", "DC CVAU,X1; DMB ISH; IC IVAU,X1; DSB ISH; "),
    "dc-dmb.st-ic": ("AAF", "DC CVAU,X1; DMB ISHST; IC IVAU,X1; DSB ISH; "),
    "dc-isb-ic": ("AAF", "DC CVAU,X1; ISB; IC IVAU,X1; DSB ISH; "),
    "dmb.st-clean": ("F", "DMB ISHST; " + _clean),
    "dsb.st-clean": ("F", "DSB ISHST; " + _clean),
    "dc-ic-dsb": ("AAF", "DC CVAU,X1; IC IVAU,X1; DSB ISH; "),
    "ic-dsb-dc": ("AAF", "IC IVAU,X1; DSB ISH; DC CVAU,X1; DSB ISH; "),
    "clean-twice": ("F", _clean + _clean),
}
IFETCH += [
    case(f"code+{name}+flag-ctrl-isb", verdicts, _lines, _stale,
         *_flag(publish, "CBNZ W5,L; L: ISB; "))
    for name, (verdicts, publish) in _publish.items()
]  # fmt: skip

_handler_0 = HANDLER.replace("P1", "P0")
_eret = "ADR X10,back; MSR ELR_EL1,X10; "
IFETCH += [
    case("dc+code+flag-ctrl-isb", "AAF", _code, _stale,
         "DC CVAU,X1; DSB ISH; STR W0,[X1]; IC IVAU,X1; DSB ISH; STR W4,[X3]",
         f"LDR W5,[X3]; CBNZ W5,L; L: ISB; {_slot}"),
    # An exception and its return are context synchronisation events, too.
    case("code+clean+flag-svc", "A", _code, _stale, *_flag(_clean, "SVC #0; back: "), HANDLER),
    case("code+clean+flag-dsb-svc", "F", _code, _stale,
         *_flag(_clean, "DSB ISH; SVC #0; back: "), HANDLER),
    case("code+clean+flag-ctrl-svc", "F", _code, _stale,
         *_flag(_clean, "CBNZ W5,L; L: SVC #0; back: "), HANDLER),
    case("code+clean+flag-acq-svc", "A", _code, _stale,
         *(t.replace("LDR W5", "LDAR W5") for t in _flag(_clean, "SVC #0; back: ")), HANDLER),
    case("code+clean+flag-eret", "A", _code, _stale, *_flag(_clean, f"{_eret}ERET; back: ")),
    case("code+clean+flag-ctrl-eret", "F", _code, _stale,
         *_flag(_clean, f"{_eret}CBNZ W5,L; L: ERET; back: ")),
    case("code+clean+flag-dsb-eret", "F", _code, _stale,
         *_flag(_clean, f"{_eret}DSB ISH; ERET; back: ")),
    case("self+clean-svc", "F", _one, "0:X9=0", _self(_clean + "SVC #0; back: "), _handler_0),
    case("self+dsb-svc", "AAF", _one, "0:X9=0", _self("DSB ISH; SVC #0; back: "), _handler_0),
    case("self+clean-eret", "F", _one, "0:X9=0", _self(f"{_clean}{_eret}ERET; back: ")),
]  # fmt: skip

# Code that is written by what is not a plain store. The letter: for data, then that code.
_writes = {
    "swp": ("A", "SWP W0,W10,[X1]; "),
    "swpl": ("F", "SWPL W0,W10,[X1]; "),
    "excl": ("A", "LDXR W10,[X1]; STXR W11,W0,[X1]; "),
    "excl-rel": ("F", "LDXR W10,[X1]; STLXR W11,W0,[X1]; "),
    "rel": ("F", "STLR W0,[X1]; "),
    "cas": ("A", "LDR W10,[X1]; CAS W10,W0,[X1]; "),
}
for _name, (_verdict, _write) in _writes.items():
    _stored = " /\\ 0:X11=0" if "excl" in _name else ""
    IFETCH += [
        case(f"{_name}-code+clean+flag-ctrl-isb", "F", _code, _stale + _stored,
             *_flag(_clean, "CBNZ W5,L; L: ISB; ", _write)),
        case(f"data+{_name}-code", _verdict, _code, _new_then_old_data + _stored,
             f"STR W4,[X3]; {_write}", _data("")[1]),
        case(f"{_name}-code+clean-isb", "F", _one, "0:X9=0" + _stored,
             f"{_write}{_clean}ISB; {_slot}"),
    ]  # fmt: skip

# New code at `fresh`, and two branches on the way to it: first leads to second, and that to fresh.
_chain = '0:X0=instr:"NOP"; 0:X1=P1:fresh; 0:X7=P1:first; 0:X6=P1:second; 1:X9=2;'
_second = _clean.replace("X1", "X6")
_orders = {
    "clean+clean": ("F", _clean, _second),
    "clean+none": ("F", _clean, ""),
    "clean+dmb.st": ("F", _clean, "DMB ISHST; "),
    "none+clean": ("AAF", "", _second),
    "dmb.st+dmb.st": ("AAF", "DMB ISHST; ", "DMB ISHST; "),
    "dsb+dsb": ("AAF", "DSB ISH; ", "DSB ISH; "),
    "none+both": (
        "F", "", "DC CVAU,X6; DC CVAU,X1; DSB ISH; IC IVAU,X6; IC IVAU,X1; DSB ISH; ",
    ),
}  # fmt: skip
IFETCH += [
    case(f"chain+{name}", verdicts, _chain, "1:X8=1 /\\ 1:X9=0",
         f"STR W0,[X1]; {first}STR W0,[X6]; {second}STR W0,[X7]",
         "first: B end; second: B end; MOV W8,#1; fresh: B old; MOV W9,#1; B end; "
         "old: MOV W9,#0; end:")
    for name, (verdicts, first, second) in _orders.items()
]  # fmt: skip

_words = '0:X0=instr:"NOP"; 0:X1=P1:first; 0:X3=P1:second; 1:X8=2; 1:X9=2;'
_between = {
    "dmb.st+isb": ("AAF", "DMB ISHST; ", "ISB; "),
    "dmb.st+dsb-isb": ("AAF", "DMB ISHST; ", "DSB ISH; ISB; "),
    "ic-no-dsb": ("AAF", "DC CVAU,X1; DSB ISH; IC IVAU,X1; ", ""),
    "ic-dsb.st": ("AAF", "DC CVAU,X1; DSB ISH; IC IVAU,X1; DSB ISHST; ", ""),
    "ic-dmb": ("AAF", "DC CVAU,X1; DSB ISH; IC IVAU,X1; DMB ISH; ", ""),
    "dc-of-second": ("AFF", "DC CVAU,X3; DSB ISH; IC IVAU,X1; DSB ISH; ", ""),
    "ic-of-second": ("AAF", "DC CVAU,X1; DSB ISH; IC IVAU,X3; DSB ISH; ", ""),
}
IFETCH += [
    case(f"two-words+{name}", verdicts, _words, "1:X8=1 /\\ 1:X9=0",
         f"STR W0,[X1]; {between}STR W0,[X3]",
         f"second: B skip; MOV W8,#1; skip: {then}first: B old; MOV W9,#1; B end; "
         "old: MOV W9,#0; end:")
    for name, (verdicts, between, then) in _between.items()
]  # fmt: skip

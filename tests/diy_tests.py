"""Litmus tests that Arm's diy7 makes, a family for each list of what it may build cycles from.

diy7's words: Rfe, Fre, Coe are what one thread reads from, or writes before or after, another one;
Pod.. is program order to a different variable, from a read or write to a read or write; Dp.. are
dependencies; A, L, Q are acquire, release, acquirePC; X is an exclusive pair, Pa a register pair;
I is an instruction fetch; Pos.. and s are to the same variable; w0, w4 and q0 access its
halves and all of it. The arguments are fixed, so the tests are the same every time.
"""

from __future__ import annotations

import herdtools

FAMILIES = {
    "data": (
        "-size 4 -nprocs 2",
        "Rfe Fre Coe PodRR PodRW PodWR PodWW DMB.SYd** DMB.STd** DMB.LDd** ISBd** "
        "DpAddrdR DpAddrdW DpDatadW DpCtrldW DpCtrldR DpCtrlIsbdR",
    ),
    "dsb": (
        "-size 4 -nprocs 2",
        "Rfe Fre Coe PodRR PodWW PodWR DSB.SYd** DSB.STd** DSB.LDd**",
    ),
    "acquire": (
        "-size 4 -nprocs 2",
        "Rfe Fre Coe PodRR PodRW PodWR PodWW A L Q DpAddrdR DpCtrldW",
    ),
    "internal": (
        "-size 5 -nprocs 2",
        "Rfe Fre Coe Rfi Fri Coi PosRR PodRR PodWW DMB.SYd** DpAddrdR DpDatadW A L",
    ),
    "exclusive": (
        "-ua 1 -size 5 -nprocs 2",
        "Rfe Fre Coe PodRR PodRW PodWW LxSx DpDatadW DpCtrldR A L",
    ),
    "atomic": (
        "-size 5 -nprocs 2",
        "Rfe Fre Coe PodWW PodRR PodRW PodWR Amo.Swp Amo.LdAdd Amo.Cas Amo.StAdd DMB.LDd** "
        "DpCtrldW",
    ),
    "pair": (
        "-size 4 -nprocs 2",
        "Rfe Fre Coe PodWW PodRR PodRW DMB.SYdWW DMB.SYdRR Pa",
    ),
    "three": (
        "-size 6 -nprocs 3",
        "Rfe Fre Coe PodRR PodWW PodRW DMB.SYd** DpAddrdR DpDatadW",
    ),
    "csel": (
        "-size 4 -nprocs 2",
        "Rfe Fre Coe PodWW PodRR DMB.SYd** DpAddrCseldR DpAddrCseldW DpDataCseldW DpCtrlCseldW "
        "DpCtrlIsbCseldR",
    ),
    "same": (
        "-size 5 -nprocs 2",
        "Rfe Fre Coe Rfi Fri Coi PosRR PosRW PosWR PosWW PodRR PodRW PodWR PodWW "
        "DpAddrsR DpAddrsW DpDatasW DpCtrlsW DpCtrlsR",
    ),
    "halfwords": (
        "-type uint16_t -size 4 -nprocs 2",
        "Rfe Fre Coe PodRR PodWW PodWR DpDatadW A L Amo.LdAdd Amo.Cas",
    ),
    "mixed": (
        "-variant Mixed -type uint64_t -size 4 -nprocs 2",
        "Rfe Fre Coe PodRR PodWW w0 w4 q0 DMB.SYdWW",
    ),
    "maintenance": (
        "-variant self -size 4 -nprocs 2",
        "RfePI FreIP Rfe Fre Coe PodRRPI PodRRIP PodWW PodRW PodRWIP PodWRPI DC.CVAUpdWW "
        "IC.IVAUpdWW CacheSyncdWW DpCtrlIsbdRPI",
    ),
    "fetch": (
        "-variant self -size 5 -nprocs 3",
        "RfePI FreIP Rfe Fre Coe PodRRPI PodRRIP PodWW PodRW PodRWIP DpCtrlIsbdRPI DpCtrldRPI "
        "DMB.SYdWW DSB.SYdWW CacheSyncdWW CacheSyncdRW CacheSyncIsbdWRPI ISBdRRPI",
    ),
    "fetch-acquire": (
        "-variant self -size 5 -nprocs 2",
        "RfePI FreIP Rfe Fre PodRRPI PodWW CacheSyncdWW CacheSyncStrongdWW DpAddrdR "
        "DpCtrlIsbdRPI PodRRIP PodRWIP A L",
    ),
}  # fmt: skip
"""By name: options of diy7, and its list of what cycles are made of."""


def family(name: str) -> dict[str, str]:
    """A family's tests, by the names that diy7 gives them. Raises debian.Unavailable."""
    options, parts = FAMILIES[name]
    return herdtools.diy7(*options.split(), "-safe", parts)

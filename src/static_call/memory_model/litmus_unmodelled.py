"""What herd7 takes and the checker has no model of, each by its name.

A test that needs one of these is refused with the name: without it, an error would be about a
letter of a syntax that is right.
"""

from __future__ import annotations

import re

_TAGS = "memory tags (FEAT_MTE)"
_PAGES = "page tables and translation"
_VECTORS = "vectors (Advanced SIMD, SVE, SME)"
_KEYS = "pointer authentication (FEAT_PAuth)"
_CAPABILITIES = "capabilities (Morello)"
_FAULTS = "exceptions of memory accesses"
_NESTED = "registers in memory (FEAT_NV2)"
_CACHES = "DC and IC other than DC CVAU, CVAC, CIVAC and IC IVAU, IALLUIS"
_SYSTEM = "system registers other than NZCV and ELR_EL1"
_INTERRUPTS = "interrupts (GIC)"
_NON_TEMPORAL = "non-temporal pairs"

MODELLED = frozenset({"ifetch", "self", "mixed", "fatal", "precise", "exs", "eis", "eos", ""})
"""The variants of herd7 that the checker's model includes (`self` is the older name of `ifetch`).

Accesses of different sizes and fetches are always modelled. `fatal` and `precise` are about faults
of memory accesses, which there are none of here; for UDF and SVC they change nothing in herd7.
"""

_VARIANTS = (
    (_TAGS, r"memtag|sync|async|asym|synchronous|asynchronous|asymmetric|mte.*"),
    (_PAGES, r"vmsa|kvm|pte2|pte-squared|noptebranch|phantomonload"),
    (_VECTORS, r"neon|sve|sme"),
    (_KEYS, r"pac|fpac|const-pac-field|pauth.*"),
    (_CAPABILITIES, r"morello"),
    (_FAULTS, r"handled|skip|faulttonext|imprecise"),
    (_NESTED, r"nv2"),
    (_INTERRUPTS, r"gic.*"),
)

_KEYS_OF_HEADERS = {
    "el0": _PAGES, "tthm": _PAGES, "tcr_el1": _PAGES, "mt_mode": _TAGS, "memtype": _PAGES,
}  # fmt: skip
"""Keys of a header that change what a test means."""

_INSTRUCTIONS = (
    (_TAGS, r"(ST|STZ|ST2|STZ2|LD)G[MP]?|STGP|IRG|GMI|ADDG|SUBG|SUBPS?"),
    (_PAGES, r"TLBIP?|AT|RCW\w+"),
    (
        _KEYS,
        r"PAC(?!I[AB]SP(PC)?$)\w*|AUT(?!I[AB]SP$)\w*|XPAC\w*|BL?RA[AB]Z?|RETA[AB]|ERETA[AB]|LDRA[AB]",
    ),
    (_VECTORS, r"SMSTART|SMSTOP|PTRUES?|PFALSE|RDVL|ADDVL|ADDPL|WHILE\w+|(LD|ST)[1-4][A-Z]*"
               r"|LDAP1|STL1|DUP|MOVI|MOVA|INDEX|UADDV|ADDVA|ADDHA|EORTBT?|F(ADD|MOV|SUB|MUL)"),
    (_CAPABILITIES, r"SCTAG|GCTAG|CSEAL|UNSEAL|SCVALUE|GCVALUE|CHKEQ|CLRTAG|CPY(TYPE|VALUE)\w*"),
    (_NON_TEMPORAL, r"LDNP|STNP"),
    (_INTERRUPTS, r"GICR?|GSB"),
)  # fmt: skip
_VECTOR_OPERAND = re.compile(
    r"\b[VZ]\d+(\.|\[|\b)|\bP\d+(\.|/)|\bZA\d*[HV]?(\.|\[|\b)|[\s,{][QDSHB]([12]?\d|3[01])\b", re.I
)
_MAINTENANCE = re.compile(
    r"\s*(DC\s+(?!CVAU\b|CVAC\b|CIVAC\b)|IC\s+(?!IVAU\b|IALLUIS\b))[A-Z]", re.I
)
_SYSTEM_REGISTER = re.compile(
    r"\s*(MRS\s+\w+\s*,\s*|MSR\s+)(?!(NZCV|ELR_EL1)\b)(\w+_EL\d+|[A-Z]\w*)\b", re.I
)
_PAGE_OPERAND = re.compile(r"\b(TTBR\d|TCR|MAIR|SCTLR|VTTBR|VBAR|HCR)_EL\d", re.I)

_VALUES = (
    (_INTERRUPTS, r"\bINTID\s*\(|\b(gic|int)val_t\b|\(\s*intid\s*:"),
    (
        _PAGES,
        r"\b(PTE|TTD|PA|PMD|PUD|PGD)\s*\(|\bpteval_t\b|\(\s*(oa|valid|af|db)\s*:|\bPhyAddr\b"
        r"|\b(pte|phy)_\w+",
    ),
    (_TAGS, r"\btag\s*\(|\.tag\b|[:=]\s*:\w+|\b(?!P\d+:|label:|instr:)[A-Za-z_]\w*:[A-Za-z]\w*"),
    (_KEYS, r"\b(pac|aut|xpac)\w*\s*\("),
    (_VECTORS, r"\b\d+:\s*[VZP]\d+|\b\d+:\s*[QDS]\d+\b|\b\w+x\d+_t\b|\bsv\w+_t\b"),
    (_CAPABILITIES, r"\b\d+:\s*C\d+\b"),
)

_FAULT_KINDS = (
    (_PAGES, r"MMU|Translation|AccessFlag|Permission|TLB"),
    (_TAGS, r"TagCheck"),
    (_KEYS, r"Pac"),
    (_VECTORS, r"SVE|SME"),
)


def variant(name: str) -> str | None:
    """What a variant of herd7 needs that is not modelled; None where it is modelled."""
    if name.lower() in MODELLED:
        return None
    for what, pattern in _VARIANTS:
        if re.fullmatch(pattern, name, re.IGNORECASE):
            return what
    return f"herd7's variant {name}"


def key(name: str) -> str | None:
    """What a key of the header is about, in lower case, if that is not modelled."""
    return _KEYS_OF_HEADERS.get(name)


def instruction(text: str) -> str | None:
    """What an instruction belongs to, if that is not modelled as a whole."""
    mnemonic = re.match(r"\s*([\w.]*)", text)
    assert mnemonic is not None
    for what, pattern in _INSTRUCTIONS:
        if re.fullmatch(pattern, mnemonic[1], re.IGNORECASE):
            return what
    if _PAGE_OPERAND.search(text):
        return _PAGES
    if _MAINTENANCE.match(text):
        return _CACHES
    if _SYSTEM_REGISTER.match(text):
        return _SYSTEM
    return _VECTORS if _VECTOR_OPERAND.search(text) else None


def value(text: str) -> str | None:
    """What an entry of the initial state or a condition is about, if that is not modelled."""
    plain = re.sub(r'"[^"]*"', '""', text)
    for what, pattern in _VALUES:
        if re.search(pattern, plain):
            return what
    return None


def fault(kind: str) -> str | None:
    """What a kind of fault belongs to, if that is not modelled."""
    for what, pattern in _FAULT_KINDS:
        if re.match(pattern, kind, re.IGNORECASE):
            return what
    return None

"""Kernel images: static calls of every design, in a file linked as an arm64 vmlinux is.

The trampolines are the assembly written by hand in test_design.py. The link is that of
arch/arm64/kernel/vmlinux.lds.S with CONFIG_RELOCATABLE: shared, without a dynamic section, its
relocations in .rela.dyn and the words that they change left as zeros.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from test_cli import tool
from test_design import BY_HAND, ByHand
from toolchain import need, run

SCRIPT = """
SECTIONS {
  . = 0xffff800080000000;
  .text : { *(.text) . = ALIGN(16); *(.static_call.text) }
  .rodata : ALIGN(4096) { *(.rodata) }
  .rela.dyn : ALIGN(8) { *(.rela .rela*) }
  .data : ALIGN(65536) { *(.data) }
  .far.text 0xffff800098000000 : { *(.far.text) }
  /DISCARD/ : { *(.interp .dynamic .dynsym .dynstr .hash .gnu.hash) }
}
"""
TARGETS = """
        .text
{0}: bti c; mov x0, #1; ret
{1}: bti c; mov x0, #2; ret
__static_call_return0: bti c; mov x0, #0; ret
        .section .far.text, "ax"
{2}: bti c; mov x0, #3; ret
"""
FUNCTIONS = ("near_a", "near_b", "far_a")
KINDS = {
    "relocatable": ("-shared", "-Bsymbolic", "-z", "notext", "--no-apply-dynamic-relocs"),
    "fixed": ("-no-pie",),
}


def trampoline(name: str, by_hand: ByHand, target: str) -> str:
    """A trampoline in its first form, with its key and its literal, as a kernel defines them."""
    cells, _ = next(iter(by_hand.forms.values()))
    code = by_hand.code.format(**cells).replace("bti c", f"__SCT__{name}: bti c", 1)
    literal = "" if by_hand.literal is not None else f".section .rodata; .p2align 3; L_{name}: "
    literal += cells.get("literal", "") if literal else ""
    text = f"""
        .section .static_call.text, "ax"; .p2align 4; .globl __SCT__{name}; {code}
        {literal}
        .data; .p2align 3; .globl __SCK__{name}; __SCK__{name}: .quad T, 0
    """
    text = re.sub(r"\bL\b", f"L_{name}", text)
    return re.sub(r"\bT\b", target, text).replace("; ", "\n")


@pytest.fixture(scope="module", params=KINDS)
def vmlinux(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image with a static call of each design."""
    need("aarch64-linux-gnu-as")
    folder = tmp_path_factory.mktemp(request.param)
    source = TARGETS.format(*FUNCTIONS).replace("; ", "\n")
    source += "".join(trampoline(_symbol(name), one, "near_a") for name, one in BY_HAND.items())
    (folder / "a.s").write_text(".arch armv8.5-a\n" + source)
    (folder / "a.lds").write_text(SCRIPT)
    run("aarch64-linux-gnu-as", folder / "a.s", "-o", folder / "a.o")
    run("aarch64-linux-gnu-ld", *KINDS[request.param], "-T", folder / "a.lds", folder / "a.o",
        "-o", folder / "vmlinux", "--no-warn-rwx-segments")  # fmt: skip
    return folder / "vmlinux"


def _symbol(design: str) -> str:
    return design.replace("-", "_")


def listed(path: Path) -> dict[str, tuple[str, str, str | None]]:
    """Design, form and target's symbol of each static call."""
    return {
        call["name"]: (call["design"], call["form"], call["target"] and call["target"]["symbol"])
        for call in json.loads(tool("list", "--json", path))["static_calls"]
    }


def test_every_design_is_listed(vmlinux: Path) -> None:
    """Name, design, form and target are found, with relocations in the file or without."""
    expected = {
        _symbol(name): (name, next(iter(one.forms)), "near_a") for name, one in BY_HAND.items()
    }
    assert listed(vmlinux) == expected


@pytest.mark.parametrize("target", ["near_b", "far_a", "null", "ret0"])
def test_every_design_is_set(vmlinux: Path, target: str, tmp_path: Path) -> None:
    """Form, target and key are the new ones; setting it back undoes that, to the byte where no
    relocations are."""
    names = [_symbol(name) for name in BY_HAND if name != "adrp-add" or target != "far_a"]
    out = tmp_path / "out"
    tool("set", vmlinux, *(f"{name}={target}" for name in names), "-o", out)
    for name, one in BY_HAND.items():
        if _symbol(name) not in names:
            continue
        design, form, symbol = listed(out)[_symbol(name)]
        far = "far" if target == "far_a" or "near" not in one.forms else "near"
        if target in ("null", "ret0") and target in one.forms:
            assert (design, form, symbol) == (name, target, None)
        elif target in ("null", "ret0"):
            assert (design, form, symbol) == (name, far, "__static_call_return0")
        else:
            assert (design, form, symbol) == (name, far, target)
    calls = json.loads(tool("list", "--json", out))["static_calls"]
    wanted = {"null": "", "ret0": "__static_call_return0"}.get(target, target)
    assert {call["key"]["symbol"] for call in calls if call["name"] in names} == {wanted}
    tool("set", out, *(f"{name}=near_a" for name in names))
    assert listed(out) == listed(vmlinux)
    if "fixed" in str(vmlinux):
        assert out.read_bytes() == vmlinux.read_bytes()

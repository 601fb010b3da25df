"""The machine code that retargets in this process: a design's own, its stores made by the kernel.

Text is read-only for the process, so a store is a pwrite to /proc/self/mem: the kernel stores
aligned 4 or 8 bytes at once (arch/arm64/lib/memcpy.S; not by FEAT_MOPS, which OwnProcess refuses),
and maintains caches for itself (arch/arm64/mm/flush.c, copy_to_user_page). Everything else of the
design's text is executed unchanged. cse is membarrier(2) with PRIVATE_EXPEDITED_SYNC_CORE, which
interrupts every CPU that runs a thread of this process. An interrupt between two steps may move the
updater to another CPU: the kernel's context switch completes its maintenance (dsb in __switch_to).
"""

from __future__ import annotations

from collections.abc import Iterator

from static_call.design.retarget import Code, Cse
from static_call.errors import StaticCallError
from static_call.isa import a64, a64_more

PARAMETERS = ("fd", "lock", "owner", "thread", "key", "function", "keep", "stores", "buffer")
"""The parameters, 8 bytes each, that x0 points to. Then come the registers of the retarget."""

_SAVED = len(PARAMETERS)  # x0 to x3 and x8 while the kernel is called
REGISTERS = _SAVED + 5
"""The index of x0's value among the parameters; those of the other registers follow."""

HELD = 1
"""The result if another thread holds the lock."""

_P = {name: f"[x19, #{8 * number}]" for number, name in enumerate(PARAMETERS)}
_LAST = 17  # x18 is the platform's, and x19 and up are used by this code

SIZE = 8 * (REGISTERS + _LAST + 1)
"""Bytes of the parameters."""

_PWRITE64, _MEMBARRIER = 68, 283  # include/uapi/asm-generic/unistd.h
_SYNC_CORE, _REGISTER_SYNC_CORE = 1 << 5, 1 << 6  # include/uapi/linux/membarrier.h
_EIO = 5

_ENTER = f"""
        bti     c
        stp     x29, x30, [sp, #-80]!
        stp     x19, x20, [sp, #16]
        stp     x21, x22, [sp, #32]
        stp     x23, x24, [sp, #48]
        str     x25, [sp, #64]
        mov     x19, x0
        mov     x24, #0                 // stores made
        ldr     x1, {_P["lock"]}
        ldr     x2, {_P["owner"]}       // 0, or a thread that has ended
        ldr     x3, {_P["thread"]}
take:   ldaxr   w0, [x1]
        cmp     x0, x2
        b.ne    held
        stxr    w4, w3, [x1]
        cbnz    w4, take
        ldr     x1, {_P["key"]}
        ldr     x20, [x1]               // to be put back
"""

_KEY = f"""
        ldr     x1, {_P["key"]}
        ldr     x2, {_P["function"]}
        str     x2, [x1]
"""

_LEAVE = f"""
        mov     x0, #0
        b       done
short:  tbnz    x0, #63, failed         // an error, or fewer bytes than asked
wrong:  movn    x0, #{_EIO - 1}
failed: ldr     x1, {_P["keep"]}
        cmp     x24, x1
        b.cs    done                    // as many stores: calls go to the new function
        ldr     x1, {_P["key"]}         // they go to the old one
        str     x20, [x1]
done:   ldr     x1, {_P["lock"]}
        stlr    wzr, [x1]
        b       leave
held:   str     x0, {_P["owner"]}
        mov     x0, #{HELD}
leave:  str     x24, {_P["stores"]}
        ldr     x25, [sp, #64]
        ldp     x23, x24, [sp, #48]
        ldp     x21, x22, [sp, #32]
        ldp     x19, x20, [sp, #16]
        ldp     x29, x30, [sp], #80
        ret
"""

_SAVE = f"""
        stp     x0, x1, [x19, #{8 * _SAVED}]
        stp     x2, x3, [x19, #{8 * _SAVED + 16}]
        str     x8, [x19, #{8 * _SAVED + 32}]
"""

_RESTORE = _SAVE.replace("stp", "ldp").replace("str", "ldr")

ASKED = -0x5343
"""The si_code of the signal that asks a thread where it is; no other signal has it."""

HANDLER = f"""
        bti     c
        ldr     w3, [x1, #8]            // siginfo: si_code
        mov     x4, #{-ASKED}
        add     x3, x3, x4
        cbnz    w3, not
        ldr     x3, [x1, #24]           // si_value, a pointer to a cell
        ldr     x4, [x2, #440]          // ucontext: uc_mcontext.pc
        str     x4, [x3]
not:    ret
"""
"""A signal handler that says where the thread was: see synchronize."""


class Unperformable(StaticCallError):
    """The design's retarget does something that is not possible in a running process."""


def retarget(code: Code, name: str) -> bytes:
    """The machine code for a retarget, which is called as long code(parameters).

    It takes the key's lock, stores the key, does what `code` says, and releases the lock. The
    result is 0, HELD or a negative errno. HELD means that a thread other than `owner` holds the
    lock; then it has only stored that thread's id in `owner`. After an error, `stores` of the
    design's stores were made. If these are fewer than `keep`, calls still go to the old function,
    and the key is as it was.

    Args:
        code: The design's retarget.
        name: The design's name, for messages.

    Raises:
        Unperformable: A step cannot be done in a running process.
    """
    used = {
        insn[one.name] for insn in code if isinstance(insn, a64.Instruction) for one in _of(insn)
    }
    if beyond := [n for n in used if _LAST < n < 31]:
        raise Unperformable(f"{name}: its retarget uses x{beyond[0]}; here it has x0 to x{_LAST}")
    lines = [*_lines(_ENTER)]
    if isinstance(code[0], Cse):
        lines += _lines(_membarrier(_SYNC_CORE))
        code = code[1:]
    elif Cse() in code:
        # Fails before anything is stored if there is no membarrier.
        lines += _lines(_membarrier(_REGISTER_SYNC_CORE))
    lines += _lines(_KEY)
    lines += [f"ldr x{n}, [x19, #{8 * (REGISTERS + n)}]" for n in sorted(used - {31})]
    for insn in code:
        if isinstance(insn, Cse):
            lines += _lines(_membarrier(_SYNC_CORE))
        elif insn.name == "str":
            lines += _lines(_store(insn))
        elif insn.name == "stp":
            raise Unperformable(
                f"{name}: its retarget stores {2 * insn.size} bytes at once; in a running "
                "process at most 8 can be"
            )
        else:
            lines.append(str(insn))
    return assemble([*lines, *_lines(_LEAVE)])


def assemble(lines: list[str] | str) -> bytes:
    """Machine code from lines of assembly with labels; it is the same at any address."""
    labels: dict[str, int] = {}
    instructions: list[a64.Instruction] = []
    for line in _lines(lines) if isinstance(lines, str) else lines:
        label, colon, text = line.rpartition(":")
        if colon:
            labels[label] = a64.WORD * len(instructions)
        instructions.append(a64_more.parse(text.strip()))
    words = (insn.bind(labels).encode(a64.WORD * i) for i, insn in enumerate(instructions))
    return b"".join(word.to_bytes(a64.WORD, "little") for word in words)


def _lines(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if code := line.partition("//")[0].strip():
            yield code


def _of(insn: a64.Instruction) -> list[a64.Operand]:
    return [one for one in insn.row.operands if one.is_register] if insn.row else []


def _store(insn: a64.Instruction) -> str:
    """A `str` of the design: its value goes into a buffer, and the kernel stores it from there."""
    width = "w" if insn.size == a64.WORD else "x"
    value = f"{width}{insn['t']}" if insn["t"] != 31 else f"{width}zr"
    return f"""
        str     {value}, {_P["buffer"]}
        add     x25, x{insn["n"]}, #{insn.get("i")}
        {_SAVE}
        ldr     x0, {_P["fd"]}
        add     x1, x19, #{8 * PARAMETERS.index("buffer")}
        mov     x2, #{insn.size}
        mov     x3, x25
        mov     x8, #{_PWRITE64}
        svc     #0
        sub     x25, x0, #{insn.size}
        cbnz    x25, short
        ldr     {width}0, [x3]
        ldr     {width}1, {_P["buffer"]}
        cmp     x0, x1                  // is it there? another thread may have closed the file,
        b.ne    wrong                   // and opened another one of its number
        add     x24, x24, #1
        {_RESTORE}
"""


def _membarrier(command: int) -> str:
    return f"""
        {_SAVE}
        mov     x0, #{command}
        mov     x1, #0
        mov     x2, #0
        mov     x8, #{_MEMBARRIER}
        svc     #0
        cbnz    x0, failed
        {_RESTORE}
"""

"""The C library of this process: the functions that places use, with their prototypes."""

from __future__ import annotations

import ctypes

SYNC_CORE, REGISTER_SYNC_CORE = 1 << 5, 1 << 6
"""membarrier's commands PRIVATE_EXPEDITED_SYNC_CORE and the registration for it
(include/uapi/linux/membarrier.h)."""

AT_HWCAP2 = 26
"""getauxval's argument for the CPU's capabilities (include/uapi/linux/auxvec.h)."""

LIBC = ctypes.CDLL(None, use_errno=True)
"""The symbols that dlsym finds in this process; ctypes.get_errno() is their errno."""

LIBC.syscall.restype = ctypes.c_long
LIBC.mmap.restype = ctypes.c_void_p
LIBC.mmap.argtypes = [
    ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long,
]  # fmt: skip
LIBC.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
LIBC.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
LIBC.getauxval.restype = ctypes.c_ulong
LIBC.getauxval.argtypes = [ctypes.c_ulong]

_FAILED = ctypes.c_void_p(-1).value
_SYS_MEMBARRIER = 283  # include/uapi/asm-generic/unistd.h


def mmap(address: int, size: int, protection: int, flags: int) -> int | None:
    """Maps memory without a file; returns its address, or None and errno."""
    where: int | None = LIBC.mmap(address, size, protection, flags, -1, 0)
    return None if where == _FAILED else where


def munmap(address: int, size: int) -> None:
    """Unmaps memory."""
    LIBC.munmap(address, size)


def mprotect(address: int, size: int, protection: int) -> None:
    """Changes the rights of pages."""
    LIBC.mprotect(address, size, protection)


def membarrier(command: int) -> int:
    """membarrier(2), for which glibc has no function: 0, or -1 and errno."""
    result: int = LIBC.syscall(_SYS_MEMBARRIER, command, 0, 0)
    return result


def capabilities() -> int:
    """AT_HWCAP2: what the kernel says about the CPU."""
    result: int = LIBC.getauxval(AT_HWCAP2)
    return result

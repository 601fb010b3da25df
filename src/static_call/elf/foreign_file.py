"""What a file is that is not an ELF file, and how to get one from it."""

from __future__ import annotations

_PACKED = (
    (b"\xfd7zXZ\0", "xz", "xz -dk"),
    (b"\x1f\x8b", "gzip", "gzip -dk"),
    (b"\x28\xb5\x2f\xfd", "zstd", "zstd -dk"),
    (b"\x04\x22\x4d\x18", "lz4", "lz4 -dk"),
    (b"\x02\x21\x4c\x18", "lz4", "lz4 -dk"),
    (b"BZh", "bzip2", "bzip2 -dk"),
    (b"\x89LZO\0", "lzop", "lzop -d"),
    (b"\x5d\0\0", "lzma", "xz -dk --format=lzma"),
)
_VMLINUX = (
    "its ELF file is vmlinux, in the folder where it was built, or in the distribution's package "
    "of debug symbols (Debian: linux-image-...-dbg)"
)


def advice(head: bytes, path: str) -> str:
    """What to say about a file that starts with these 64 bytes: one line, without the path."""
    for magic, name, command in _PACKED:
        if head.startswith(magic):
            if _is_kernel(path):
                return f"a kernel image compressed with {name}, not an ELF file: {_VMLINUX}"
            return f"compressed with {name}, not an ELF file: unpack it with {command} {path}"
    if head[4:8] == b"zimg":
        return f"a compressed kernel (EFI zboot), not an ELF file: {_VMLINUX}"
    if head[56:60] == b"ARMd":  # Linux, Documentation/arch/arm64/booting.rst: magic, at byte 56
        return f"a kernel image (Image), not an ELF file: {_VMLINUX}"
    if head.startswith((b"!<arch>\n", b"!<thin>\n")):
        if head[8:21] == b"debian-binary":
            return f"a Debian package, not an ELF file: unpack it with dpkg -x {path} FOLDER"
        return f"an archive, not an ELF file: take its objects out with ar x {path}"
    if head.startswith((b"BC\xc0\xde", b"\xde\xc0\x17\x0b")):
        return "LLVM bitcode, not an ELF file: link it first (-flto objects have no code yet)"
    if head.startswith(b"MZ"):
        return "a PE file, not an ELF file"
    if head[:4] in (b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe"):
        return "a Mach-O file, not an ELF file"
    return "not an ELF file"


def _is_kernel(path: str) -> bool:
    name = path.rpartition("/")[2].lower()
    return name.startswith(("vmlinuz", "image", "zimage", "bzimage", "uimage"))

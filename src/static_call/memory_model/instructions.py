"""The instructions that the checker knows: isa.a64_more's."""

from __future__ import annotations

from static_call.isa.a64_more import MORE, assemble, decode

__all__ = ["MORE", "assemble", "decode"]

"""Where trampolines live: one file each, which offers what static_call.Place asks for."""

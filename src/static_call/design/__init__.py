"""Trampoline designs: the notation, what is derived from it, and the designs themselves."""

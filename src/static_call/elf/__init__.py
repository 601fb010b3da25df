"""ELF files as memory and names."""

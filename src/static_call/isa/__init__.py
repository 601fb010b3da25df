"""The instruction sets: a table each, and what follows straight code."""

"""The instruction sets: the parts of each, and how to follow straight-line code.

* `instruction.py`: rows: encoding, decoding, parsing and printing, for every set
* `isa.py`: what the rest of the program must know of a set
* `sets.py`: the list of sets
* `a64.py`: A64's rows, landing pads and conditions; a64_more.py has the checker's rows,
  most of them from a64_data.py (registers) and a64_memory.py (memory)
* `a64_patcher.py`: what an A64 retarget may consist of
* `walk.py`: follows straight-line A64 code
"""

"""The instruction sets: what each is made of, and what follows its straight code.

* `instruction.py`: rows: encoding, decoding, parsing and printing, for every set
* `isa.py`: what the rest of the program must know of a set
* `sets.py`: the sets that there are
* `a64.py`: A64's rows, landing pads and conditions; a64_more.py has the checker's rows
* `a64_patcher.py`: what an A64 retarget may be made of
* `walk.py`: follows A64's straight code
"""

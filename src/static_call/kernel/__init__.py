"""The Linux port: makes an arm64 kernel tree support static calls, by a design's text.

* `tree.py`: a source tree as files, and its version
* `code.py`: which designs can be ported, and what the next two share
* `header.py`: the assembly that a design becomes
* `transform.py`: the C that a design becomes
* `port.py`: what changes in a tree; applying it and taking it out
* `patches.py`: the same as a patch series
"""

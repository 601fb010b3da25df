"""The Linux port: makes an arm64 kernel tree support static calls, by a design's text.

* `tree.py`: a source tree as files, and its version
* `code.py`: which designs can be ported, and what header.py and transform.py share
* `header.py`: the assembly that a design becomes
* `transform.py`: the C that a design becomes
* `port.py`: the changes of a tree: applying them and taking them out
* `patches.py`: the same as a patch series
"""

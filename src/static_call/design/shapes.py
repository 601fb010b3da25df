"""The shapes of the shipped designs, so that a run of the program need not read their texts.

Made by scripts/make_shapes.py from shipped/*.s (make shapes): do not edit. A test compares.
"""

# ruff: noqa: E501
# fmt: off
from __future__ import annotations

from static_call.design.shape import Fixup, Literal, Shape, Template
from static_call.isa.instruction import Kind, Operand, Symbol

_0 = Operand(kind='@', name='i', bits=((0, 26),), unit=4, about=Kind(what='a label or an address', names={}, size=0, bits=64))
_1 = Operand(kind='@@', name='il', bits=((5, 19), (29, 2)), unit=4096, about=Kind(what='a label or an address', names={}, size=0, bits=64))
_2 = Operand(kind='#', name='i', bits=((10, 12),), unit=1, about=Kind(what='an immediate', names={}, size=0, bits=64))
_3 = Operand(kind='#', name='i', bits=((10, 12),), unit=8, about=Kind(what='an immediate', names={}, size=0, bits=64))

SHAPES: dict[str, Shape] = {
    'adrp-add': Shape(
        set='a64',
        size=20,
        entry=0,
        align=8,
        labels={'slot': 4, 'page': 8, 'offset': 12},
        outside=(),
        forms=('near', 'far', 'null'),
        literals=(),
        templates=(
            Template('null', 0xffffffff0000000000000000ffffffffffffffff, 0xd61f02000000000000000000d65f03c0d503245f, (), ((8, ((0xffffffff, 0x0), (0x9f00001f, 0x90000010),)), (12, ((0xffffffff, 0x0), (0xffc003ff, 0x91000210),)),)),
            Template('near', 0xffffffff0000000000000000fc000000ffffffff, 0xd61f0200000000000000000014000000d503245f, (Fixup(4, _0, Symbol(name='target', lo12=False)),), ((8, ((0xffffffff, 0x0), (0x9f00001f, 0x90000010),)), (12, ((0xffffffff, 0x0), (0xffc003ff, 0x91000210),)),)),
            Template('far', 0xffffffffffc003ff9f00001fffffffffffffffff, 0xd61f02009100021090000010d503201fd503245f, (Fixup(8, _1, Symbol(name='target', lo12=False)), Fixup(12, _2, Symbol(name='target', lo12=True)),), ()),
        ),
    ),
    'adrp-stub': Shape(
        set='a64',
        size=36,
        entry=0,
        align=8,
        labels={'slot': 4, 'ret0': 20, 'null': 28},
        outside=('literal',),
        forms=('near', 'far', 'null', 'ret0'),
        literals=(Literal(label='literal', offset=None, cell=True, contents={'near': 'target', 'far': 'target', 'null': 'null', 'ret0': 'ret0'}),),
        templates=(
            Template('null', 0xffffffffffffffffffffffffffffffffffffffffffc003ff9f00001fffffffffffffffff, 0xd65f03c0d503245fd2800000d503245fd61f0200f94002109000001014000006d503245f, (Fixup(8, _1, Symbol(name='literal', lo12=False)), Fixup(12, _3, Symbol(name='literal', lo12=True)),), ()),
            Template('ret0', 0xffffffffffffffffffffffffffffffffffffffffffc003ff9f00001fffffffffffffffff, 0xd65f03c0d503245fd2800000d503245fd61f0200f94002109000001014000004d503245f, (Fixup(8, _1, Symbol(name='literal', lo12=False)), Fixup(12, _3, Symbol(name='literal', lo12=True)),), ()),
            Template('near', 0xffffffffffffffffffffffffffffffffffffffffffc003ff9f00001ffc000000ffffffff, 0xd65f03c0d503245fd2800000d503245fd61f0200f94002109000001014000000d503245f, (Fixup(4, _0, Symbol(name='target', lo12=False)), Fixup(8, _1, Symbol(name='literal', lo12=False)), Fixup(12, _3, Symbol(name='literal', lo12=True)),), ()),
            Template('far', 0xffffffffffffffffffffffffffffffffffffffffffc003ff9f00001fffffffffffffffff, 0xd65f03c0d503245fd2800000d503245fd61f0200f940021090000010d503201fd503245f, (Fixup(8, _1, Symbol(name='literal', lo12=False)), Fixup(12, _3, Symbol(name='literal', lo12=True)),), ()),
        ),
    ),
    'data-literal': Shape(
        set='a64',
        size=24,
        entry=0,
        align=8,
        labels={'1@15': 20},
        outside=('literal',),
        forms=('far', 'null'),
        literals=(Literal(label='literal', offset=None, cell=True, contents={'far': 'target', 'null': 0}),),
        templates=(
            Template('null', 0xffffffffffffffffffffffffffc003ff9f00001fffffffff, 0xd65f03c0d61f0200b4000050f940021090000010d503245f, (Fixup(4, _1, Symbol(name='literal', lo12=False)), Fixup(8, _3, Symbol(name='literal', lo12=True)),), ()),
            Template('far', 0xffffffffffffffffffffffffffc003ff9f00001fffffffff, 0xd65f03c0d61f0200b4000050f940021090000010d503245f, (Fixup(4, _1, Symbol(name='literal', lo12=False)), Fixup(8, _3, Symbol(name='literal', lo12=True)),), ()),
        ),
    ),
    'inline-stub': Shape(
        set='a64',
        size=40,
        entry=0,
        align=8,
        labels={'slot': 4, 'literal': 16, 'ret0': 24, 'null': 32},
        outside=(),
        forms=('near', 'far', 'null', 'ret0'),
        literals=(Literal(label='literal', offset=16, cell=True, contents={'near': 'target', 'far': 'target', 'null': 'null', 'ret0': 'ret0'}),),
        templates=(
            Template('null', 0xffffffffffffffffffffffffffffffff0000000000000000ffffffffffffffffffffffffffffffff, 0xd65f03c0d503245fd2800000d503245f0000000000000000d61f02005800005014000007d503245f, (), ()),
            Template('ret0', 0xffffffffffffffffffffffffffffffff0000000000000000ffffffffffffffffffffffffffffffff, 0xd65f03c0d503245fd2800000d503245f0000000000000000d61f02005800005014000005d503245f, (), ()),
            Template('near', 0xffffffffffffffffffffffffffffffff0000000000000000fffffffffffffffffc000000ffffffff, 0xd65f03c0d503245fd2800000d503245f0000000000000000d61f02005800005014000000d503245f, (Fixup(4, _0, Symbol(name='target', lo12=False)),), ()),
            Template('far', 0xffffffffffffffffffffffffffffffff0000000000000000ffffffffffffffffffffffffffffffff, 0xd65f03c0d503245fd2800000d503245f0000000000000000d61f020058000050d503201fd503245f, (), ()),
        ),
    ),
    'literal-before-entry': Shape(
        set='a64',
        size=32,
        entry=8,
        align=16,
        labels={'literal': 0, 'entry': 8, 'slot': 12, '1@17': 28},
        outside=(),
        forms=('near', 'far', 'null'),
        literals=(Literal(label='literal', offset=0, cell=True, contents={'near': 'target', 'far': 'target', 'null': 0}),),
        templates=(
            Template('null', 0xffffffffffffffffffffffffffffffffffffffffffffffff0000000000000000, 0xd65f03c0d61f0200b400005058ffff90d65f03c0d503245f0000000000000000, (), ()),
            Template('near', 0xfffffffffffffffffffffffffffffffffc000000ffffffff0000000000000000, 0xd65f03c0d61f0200b400005058ffff9014000000d503245f0000000000000000, (Fixup(12, _0, Symbol(name='target', lo12=False)),), ()),
            Template('far', 0xffffffffffffffffffffffffffffffffffffffffffffffff0000000000000000, 0xd65f03c0d61f0200b400005058ffff90d503201fd503245f0000000000000000, (), ()),
        ),
    ),
    'local-stub': Shape(
        set='a64',
        size=32,
        entry=8,
        align=16,
        labels={'literal': 0, 'entry': 8, 'slot': 12, '1@15': 24},
        outside=(),
        forms=('near', 'far', 'null'),
        literals=(Literal(label='literal', offset=0, cell=True, contents={'near': 'target', 'far': 'target', 'null': '1@15'}),),
        templates=(
            Template('null', 0xffffffffffffffffffffffffffffffffffffffffffffffff0000000000000000, 0xd65f03c0d503245fd61f020058ffff90d503201fd503245f0000000000000000, (), ()),
            Template('near', 0xfffffffffffffffffffffffffffffffffc000000ffffffff0000000000000000, 0xd65f03c0d503245fd61f020058ffff9014000000d503245f0000000000000000, (Fixup(12, _0, Symbol(name='target', lo12=False)),), ()),
            Template('far', 0xffffffffffffffffffffffffffffffffffffffffffffffff0000000000000000, 0xd65f03c0d503245fd61f020058ffff90d503201fd503245f0000000000000000, (), ()),
        ),
    ),
    'mainline': Shape(
        set='a64',
        size=16,
        entry=0,
        align=16,
        labels={},
        outside=('literal',),
        forms=('far',),
        literals=(Literal(label='literal', offset=None, cell=True, contents={'far': 'target'}),),
        templates=(
            Template('far', 0xffffffffffc003ff9f00001fffffffff, 0xd61f0200f940021090000010d503245f, (Fixup(4, _1, Symbol(name='literal', lo12=False)), Fixup(8, _3, Symbol(name='literal', lo12=True)),), ()),
        ),
    ),
    'slot-adrp-literal': Shape(
        set='a64',
        size=20,
        entry=0,
        align=8,
        labels={'slot': 4},
        outside=('literal',),
        forms=('near', 'far', 'null'),
        literals=(Literal(label='literal', offset=None, cell=True, contents={'near': 'target', 'far': 'target'}),),
        templates=(
            Template('null', 0xffffffffffc003ff9f00001fffffffffffffffff, 0xd61f0200f940021090000010d65f03c0d503245f, (Fixup(8, _1, Symbol(name='literal', lo12=False)), Fixup(12, _3, Symbol(name='literal', lo12=True)),), ()),
            Template('near', 0xffffffffffc003ff9f00001ffc000000ffffffff, 0xd61f0200f94002109000001014000000d503245f, (Fixup(4, _0, Symbol(name='target', lo12=False)), Fixup(8, _1, Symbol(name='literal', lo12=False)), Fixup(12, _3, Symbol(name='literal', lo12=True)),), ()),
            Template('far', 0xffffffffffc003ff9f00001fffffffffffffffff, 0xd61f0200f940021090000010d503201fd503245f, (Fixup(8, _1, Symbol(name='literal', lo12=False)), Fixup(12, _3, Symbol(name='literal', lo12=True)),), ()),
        ),
    ),
    'slot-inline-literal': Shape(
        set='a64',
        size=24,
        entry=0,
        align=8,
        labels={'slot': 4, '1@16': 16},
        outside=(),
        forms=('near', 'far', 'null'),
        literals=(Literal(label='1@16', offset=16, cell=True, contents={'near': 'target', 'far': 'target'}),),
        templates=(
            Template('null', 0xffffffffffffffffffffffffffffffff, 0xd61f020058000050d65f03c0d503245f, (), ()),
            Template('near', 0xfffffffffffffffffc000000ffffffff, 0xd61f02005800005014000000d503245f, (Fixup(4, _0, Symbol(name='target', lo12=False)),), ()),
            Template('far', 0xffffffffffffffffffffffffffffffff, 0xd61f020058000050d503201fd503245f, (), ()),
        ),
    ),
}
"""By the design's name."""

"""The program's own NamedTuple does what typing's does."""

from __future__ import annotations

import copy
import pickle
import typing
from collections.abc import Callable

import pytest

from static_call import records


class Mine(records.NamedTuple):
    """A record of ours."""

    a: int
    b: str = "b"
    c: tuple[int, ...] = ()

    @property
    def double(self) -> int:
        """Twice a."""
        return 2 * self.a

    def __str__(self) -> str:
        return f"{self.a}!"


class Theirs(typing.NamedTuple):
    """The same by typing."""

    a: int
    b: str = "b"
    c: tuple[int, ...] = ()

    @property
    def double(self) -> int:
        """Twice a."""
        return 2 * self.a

    def __str__(self) -> str:
        return f"{self.a}!"


USES: list[Callable[[typing.Any], object]] = [
    lambda cls: tuple(cls(1)),
    lambda cls: tuple(cls(1, "x")),
    lambda cls: tuple(cls(1, c=(2,))),
    lambda cls: tuple(cls(c=(2,), a=1)),
    lambda cls: cls(1) == (1, "b", ()),
    lambda cls: cls(1) == cls(1, "b") and hash(cls(1)) == hash((1, "b", ())),
    lambda cls: (cls(1).a, cls(1).b, cls(3).double, str(cls(1)), cls(1)[1], len(cls(1))),
    lambda cls: repr(cls(1, c=(2,))).replace("Theirs", "Mine"),
    lambda cls: cls(1)._asdict(),
    lambda cls: tuple(cls(1)._replace(b="x")),
    lambda cls: tuple(cls._make([1, 2, 3])),
    lambda cls: (cls._fields, cls._field_defaults, cls.__match_args__),
    lambda cls: pickle.loads(pickle.dumps(cls(1))) == cls(1),
    lambda cls: type(copy.copy(cls(1))) is cls and copy.deepcopy(cls(1)) == cls(1),
    lambda cls: sorted([cls(2), cls(1)]),
    lambda cls: hasattr(cls(1), "__dict__"),
]


@pytest.mark.parametrize("use", USES)
def test_what_is_done_with_one(use: Callable[[typing.Any], object]) -> None:
    """Made, compared, read, shown, changed, copied: the same results."""
    assert use(Mine) == use(Theirs)


@pytest.mark.parametrize(
    "use",
    [
        lambda cls: cls(),
        lambda cls: cls(1, 2, 3, 4),
        lambda cls: cls(1, d=2),
        lambda cls: cls(1, a=2),
        lambda cls: cls(b=2),
        lambda cls: hash(cls(1, c=[])),
    ],
)
def test_what_is_refused(use: Callable[[typing.Any], object]) -> None:
    """Too few, too many, unknown and repeated fields; the hash of what has none."""
    for cls in (Mine, Theirs):
        with pytest.raises(TypeError):
            use(cls)


@pytest.mark.parametrize("cls", [Mine, Theirs])
def test_it_cannot_be_written(cls: typing.Any) -> None:
    """A field is not set, and there are no other attributes."""
    for name in ("a", "z"):
        with pytest.raises(AttributeError):
            setattr(cls(1), name, 2)


def test_it_is_taken_apart_by_match() -> None:
    """In the order of its fields."""
    match Mine(1, "x"):
        case Mine(1, b, c):
            assert (b, c) == ("x", ())
        case _:
            pytest.fail("no match")

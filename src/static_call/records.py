"""A NamedTuple that is cheap to define, for modules that every run of the program imports.

typing.NamedTuple compiles a constructor for each class, which takes about ten times as long as
defining one here, and importing typing takes as long as thirty classes. Type checkers see
typing.NamedTuple, and instances behave like its instances. Creating one is slower, so classes with
very many instances should use typing.NamedTuple.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as typing has it, without its import
if TYPE_CHECKING:
    from typing import NamedTuple as NamedTuple
else:
    from operator import itemgetter

    class _Definition(type):
        """Makes a record's class: its annotations are the fields, their values the defaults."""

        def __new__(cls, name, bases, namespace):
            fields = tuple(namespace.get("__annotations__", ()))
            if fields:
                defaults = {field: namespace[field] for field in fields if field in namespace}
                namespace |= {field: property(itemgetter(i)) for i, field in enumerate(fields)}
                namespace |= {"_fields": fields, "_field_defaults": defaults}
                namespace["__match_args__"] = fields
            return super().__new__(cls, name, bases, namespace | {"__slots__": ()})

    class NamedTuple(tuple, metaclass=_Definition):
        """A tuple whose fields have names."""

        _fields = ()
        _field_defaults = {}  # noqa: RUF012

        def __new__(cls, *values, **named):
            """A record with these fields."""
            if len(values) != len(cls._fields) or named:
                rest = cls._fields[len(values) :]
                given = cls._field_defaults | named
                wrong = named.keys() - set(rest) or set(rest) - given.keys()
                if wrong or len(values) > len(cls._fields):
                    raise TypeError(f"{cls.__name__} has the fields {', '.join(cls._fields)}")
                values += tuple([given[field] for field in rest])
            return tuple.__new__(cls, values)

        @classmethod
        def _make(cls, values):
            return cls(*values)

        def _asdict(self):
            return dict(zip(self._fields, self))

        def _replace(self, **named):
            return type(self)(**(self._asdict() | named))

        def __getnewargs__(self):
            return tuple(self)

        def __repr__(self):
            fields = ", ".join(f"{field}={value!r}" for field, value in self._asdict().items())
            return f"{type(self).__name__}({fields})"

"""Writes the folder that is built and run on a board."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from static_call.board.errata import ERRATA
from static_call.board.programs import NotRunnable, Row, row, table
from static_call.check import export
from static_call.design.design import Design
from static_call.errors import StaticCallError
from static_call.memory_model.litmus import run
from static_call.memory_model.litmus_format import TRUE, Test
from static_call.memory_model.litmus_reader import read
from static_call.memory_model.model import PRESENT, WEAKEST
from static_call.memory_model.program import DEFAULT, Limits

_PACKAGE = os.path.dirname(os.path.dirname(__file__))
_SOURCES = (
    *(
        os.path.join("board", "c", name)
        for name in (
            "main.c", "questions.c", "measure.c", "board.h", "Makefile", "build.sh", "README",
        )
    ),
    os.path.join("include", "static_call.c"),
    os.path.join("include", "static_call.h"),
)  # fmt: skip


class Asked(NamedTuple):
    """The questions for a board.

    Attributes:
        rows: The tests, no two of which run the same.
        texts: Their litmus files, in the same order.
        left: Why others were left out, with how many for each reason.
    """

    rows: list[Row]
    texts: list[str]
    left: dict[str, int]


def questions(designs: Sequence[Design], limits: Limits = DEFAULT) -> Asked:
    """What `check --litmus` writes for designs, as far as a board can run it.

    What modifies code in a way that Arm does not define is left out (B2.2.5): there, a CPU may do
    anything that the program could do. So is what an older edition of Arm's text does not define: a
    board may have a CPU of that time.

    Args:
        designs: The designs, no two with the same name.
        limits: Bounds on the work.

    Raises:
        StaticCallError: two designs have the same name, or a bound was exceeded.
    """
    rows: dict[str, Row] = {}
    texts: list[str] = []
    left: dict[str, int] = {}
    made = (file for files, _ in export.questions(designs, limits) for file in files)
    for name, text in sorted(made, key=lambda one: f"{one.name}.litmus"):  # as in the folder
        try:
            test = read(text, name)
            check_defined(test, limits)
            one = row(test)
        except NotRunnable as error:
            why = str(error).partition(": ")[2]
            left[why] = left.get(why, 0) + 1
            continue
        if one.digest not in rows:
            rows[one.digest] = one
            texts.append(text)
    return Asked(list(rows.values()), texts, left)


def check_defined(test: Test, limits: Limits) -> None:
    """Raises NotRunnable for a test that some edition of Arm's text does not define.

    Its filter does not count: a board also runs what a filter leaves out.
    """
    broken = run(replace(test, only=TRUE), WEAKEST, limits).broken
    if broken:
        which = "does not define" if PRESENT in broken else "did not define in older editions"
        raise NotRunnable(f"{test.name}: it modifies code in a way that Arm {which}")


def check_folder(directory: str) -> None:
    """Raises StaticCallError if `write` would not take a folder: see there."""
    if not directory:
        raise StaticCallError("the folder to write needs a name")
    if os.path.isdir(directory):
        if os.listdir(directory):
            raise StaticCallError(f"{directory} is not empty")
    elif os.path.lexists(directory):
        raise StaticCallError(f"{directory} is not a folder")


def write(asked: Asked, made_by: str, directory: str) -> None:
    """Writes the folder: the sources, table.c, and the questions as litmus files in `litmus`.

    Args:
        asked: The questions.
        made_by: What the program says that it was made by.
        directory: The folder; it must not exist, or be empty.

    Raises:
        StaticCallError: there are no questions, or the folder has no name or something in it, or is
            a file.
        OSError: a file cannot be written.
    """
    if not asked.rows:
        raise StaticCallError("no question that a board can run")
    check_folder(directory)
    os.makedirs(os.path.join(directory, "litmus"), exist_ok=True)
    for source in _SOURCES:
        shutil.copyfile(
            os.path.join(_PACKAGE, source), os.path.join(directory, os.path.basename(source))
        )
    files = {"table.c": table(asked.rows, made_by, ERRATA)}
    for one, text in zip(asked.rows, asked.texts):
        files[os.path.join("litmus", f"{one.test.name}.litmus")] = text
    for name, text in files.items():
        with open(os.path.join(directory, name), "w", encoding="utf-8") as file:
            file.write(text)

"""static-call litmus: runs litmus tests in herd's format."""

from __future__ import annotations

import argparse

from static_call.cli.arguments import bounds, given_limits
from static_call.cli.output import Progress

SUMMARY = "run litmus tests in herd's format"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the verb takes."""
    parser.add_argument("file", nargs="+")
    parser.add_argument(
        "--cache-type", choices=("none", "IDC", "IDC,DIC"),
        help="run all with this one, not with their headers' CacheType",
    )  # fmt: skip
    parser.add_argument("--lse2", action="store_true", help="with FEAT_LSE2")
    bounds(parser)


def run(options: argparse.Namespace) -> int:
    """Runs the tests."""
    from static_call.memory_model.litmus import main_litmus
    from static_call.memory_model.model import Model

    model = None
    if kind := options.cache_type:
        model = Model(idc="IDC" in kind, dic="DIC" in kind)
    with Progress() as progress:
        return main_litmus(
            options.file, model, limits=given_limits(options), lse2=options.lse2, progress=progress
        )

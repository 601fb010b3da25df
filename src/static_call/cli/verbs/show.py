"""static-call show: one static call's trampoline as a listing."""

from __future__ import annotations

import argparse

from static_call.cli.arguments import debug_option, design_option, load_designs, open_image
from static_call.cli.output import print_json
from static_call.cli.static_calls import as_json, key, says

SUMMARY = "show a static call's trampoline as a listing"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the verb takes."""
    parser.add_argument("file")
    parser.add_argument("name", help="the static call's name, or its trampoline's address")
    parser.add_argument("--json", action="store_true", help="print JSON")
    design_option(parser)
    debug_option(parser)


def run(options: argparse.Namespace) -> int:
    """Prints the listing."""
    from static_call import image_calls

    designs = load_designs(options.design)
    with open_image(options) as image:
        (call,) = image_calls.lookup(image, designs, [options.name])
        lines = list(image_calls.listing(call, image))
        if options.json:
            shown = [
                {"address": image.locate(at)[1], "bytes": data, "text": text}
                for at, data, text in lines
            ]
            sites = image.sites([call.entry])[call.entry]
            print_json({**as_json(call, image, sites), "listing": shown})
            return 0
        where = {at: image.where(at) for at, _, _ in lines}
    design, form, target = says(call)
    print(f"{call.name}: {design}, {form}, target {target}, key {key(call)}\n")
    for at, data, text in lines:
        print(f"{'->' if at == call.entry else '  '} {where[at]}  {data:<16}  {text}")
    print()
    for item, cell in call.known.design.listing():
        if item.cell:
            print(f"   {item.title + ':':<9}{cell}")
    if call.unfinished:
        print("\nA retarget was not finished: slot and literal do not say the same. Calls work.")
    elif not call.known.agrees:
        print("\nThe slot's branch and the literal name different addresses of one function:")
        print("a veneer or a PLT entry lies between.")
    return 0

"""A static call of an image, for a person and as JSON: what list, show and set print."""

from __future__ import annotations

TYPE_CHECKING = False  # as typing has it, whose import would take a tenth of the start-up
if TYPE_CHECKING:
    from static_call.elf.image import Image
    from static_call.image_calls import Found, Goal


def says(call: Found) -> list[str]:
    """Design, form and target of a static call for a person."""
    if call.state is None:
        return ["?", "?", "not a trampoline of a known design"]
    target = str(call.goal or ("-" if call.state.target is None else "0"))
    other = f" (literal: {call.other})" if call.other else ""
    return [call.state.design.name, call.state.form, target + other]


def key(call: Found) -> str:
    """What its key holds, for a person."""
    from static_call.calls import RETURN0

    if call.key is None:
        return "-"
    if call.value is None:
        return "null"
    return "ret0" if call.value.name == RETURN0 else str(call.value)


def as_json(call: Found, image: Image, sites: int | None) -> dict[str, object]:
    """The documented shape: docs/reference.md."""
    state, goal, value = call.state, call.goal, call.value
    section, address = image.locate(call.entry)
    result: dict[str, object] = {
        "name": call.name,
        "address": address,
        "design": state.design.name if state else None,
        "form": state.form if state else None,
        "target": goal and _goal_as_json(goal),
        "literals": dict(state.literals) if state and image.linked else {},
        "unfinished": call.unfinished,
        "key": None
        if call.key is None
        else {
            "address": image.locate(call.key)[1],
            "value": value.address if value else 0,
            "symbol": value.name if value else "",
        },
    }
    if section:
        result["section"] = section
    if sites is not None:
        result["sites"] = sites
    return result


def _goal_as_json(goal: Goal) -> dict[str, object]:
    shown: dict[str, object] = {"address": goal.address, "symbol": goal.name, "via": goal.via}
    return {**shown, "section": goal.section} if goal.section else shown

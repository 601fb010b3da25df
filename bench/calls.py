"""Executed instructions per call, by design and form, counted by the emulated machine.

Beyond a direct call of the same target; beside it what the design's text says (Design.cost).
Emulation counts instructions exactly; it says nothing of time on hardware.
"""

from __future__ import annotations

from static_call import RET0, Emulator
from static_call.design import notation


def main() -> None:
    """Prints the table."""
    machine = Emulator()
    code = "bti c\nadd x0, x0, #1\nret"
    near = machine.function(code)
    far = machine.function(code, at=near.address + (1 << 31) & ~15)
    direct = len(machine.trace(near.address, 3)[1])
    print(f"{'design':22}{'form':6}{'counted':>8}{'derived':>8}")
    for name in notation.shipped():
        call = machine.static_call(name, target=near, design=name)
        for target in (near, far, None, RET0):
            call.update(target)
            form = call.form
            if target in (None, RET0) and form in ("near", "far"):
                continue  # a design without that form
            called = direct if form in ("near", "far") else 0
            counted = len(machine.trace(call.address, 3)[1]) - called
            print(f"{name:22}{form:6}{counted:8}{call.design.cost(form).instructions:8}")


if __name__ == "__main__":
    main()

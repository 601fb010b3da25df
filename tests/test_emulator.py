"""The emulated machine: calls, faults, bounds, static calls."""

from functools import partial
from pathlib import Path

import pytest

from static_call import RET0, Emulator, StaticCall, StaticCallError, load
from static_call.design import notation
from static_call.design.target import Unreachable
from static_call.errors import BadTarget
from static_call.isa.a64 import Misaligned
from static_call.places.emulator import EmulatorFault, OutOfBounds

ADD_1 = "bti c\nadd x0, x0, #1\nret"
ADD_100 = "bti c\nadd x0, x0, #100\nret"
FAR = 0x40_0000_0000  # 252 GiB from the machine's own code


@pytest.fixture
def machine() -> Emulator:
    """A fresh machine."""
    return Emulator()


def test_the_interface_of_the_readme(machine: Emulator) -> None:
    """A static call is called, retargeted near, far, to None and to RET0, and asked what it is."""
    f, g = machine.function(ADD_1), machine.function(ADD_100, at=FAR)
    call = machine.static_call("policy", target=f)
    assert (call(3), call.target, call.form) == (4, f.address, "near")
    call.update(g)
    assert (call(3), call.target, call.form) == (103, g.address, "far")
    call.update(None)
    assert (call(3), call.target, call.form) == (3, None, "null")
    call.update(RET0)
    assert (call(3), call.target, call.form) == (0, RET0, "ret0")
    call.update(f)
    assert (call(3), call.target, call.form) == (4, f.address, "near")
    assert machine.read(call.address, 4) == bytes.fromhex("5f2403d5")  # bti c, Arm ARM C6.2


@pytest.mark.parametrize("name", notation.shipped())
@pytest.mark.parametrize("kind", ["near", "far", "null", "ret0"])
def test_every_design_calls_every_kind_of_target(machine: Emulator, name: str, kind: str) -> None:
    """Whatever the design and whatever it called before, a call goes where it was retargeted."""
    f = machine.function(ADD_1)
    distance = 1 << 31 if name == "adrp-add" else 1 << 38  # ADRP's reach is 4 GiB
    g = machine.function(ADD_100, at=f.address + distance & ~15)
    targets = {"near": (f, 4), "far": (g, 103), "null": (None, 3), "ret0": (RET0, 0)}
    if name == "mainline":  # None is RET0 there, as Linux has it
        targets["null"] = (None, 0)
    for before, _ in targets.values():
        call = machine.static_call(f"call_{before}", target=before, design=name)
        target, result = targets[kind]
        call.update(target)
        assert call(3) == result
        assert call.target == (target if target is None or target is RET0 else target.address)


@pytest.mark.parametrize("name", notation.shipped())
def test_executed_instructions_are_what_the_text_says(machine: Emulator, name: str) -> None:
    """Design.cost, derived from the text, is what the machine executes beyond a direct call."""
    f = machine.function(ADD_1)
    g = machine.function(ADD_100, at=f.address + (1 << 31) & ~15)
    direct = len(machine.trace(f.address, 3)[1])
    call = machine.static_call("call", target=f, design=name)
    for target in (f, g, None, RET0):
        call.update(target)
        form = call.form
        through = form in ("near", "far")
        if through and target in (None, RET0):
            continue  # a design without that form: it calls __static_call_return0
        executed = len(machine.trace(call.address, 3)[1]) - (direct if through else 0)
        assert executed == load(name).cost(form).instructions


def test_the_default_costs_two_near_and_four_far() -> None:
    """The figures that the design was made for: 2 instructions near, 4 far."""
    design = load("inline-stub")
    assert (design.cost("near").instructions, design.cost("far").instructions) == (2, 4)
    assert (design.cost("near").indirect, design.cost("far").indirect) == (0, 1)


@pytest.mark.parametrize("name", ["inline-stub", "adrp-stub", "local-stub"])
def test_preempted_anywhere_a_call_reaches_a_target_that_was_current(
    machine: Emulator, name: str
) -> None:
    """A thread stopped at any instruction of the trampoline, over any retarget, ends in the old
    target, the new one, or returns where one of them is None."""
    f = machine.function(ADD_1)
    h = machine.function("bti c\nadd x0, x0, #2\nret")
    g = machine.function(ADD_100, at=FAR)
    targets = [(f, 4), (h, 5), (g, 103), (None, 3), (RET0, 0)]
    call = machine.static_call("call", target=f, design=name)
    for old, old_result in targets:
        for new, new_result in targets:
            call.update(old)
            inside = [
                address
                for address in machine.trace(call.address, 3)[1]
                if call.address <= address < call.address + call.design.size
            ]
            for stop in range(1, len(inside) + 1):
                call.update(old)
                retarget = partial(call.update, new)
                result = machine.preempt(call.address, 3, after=stop, then=retarget)
                assert result in (old_result, new_result), (old, new, stop)


def test_buffers_go_in_and_come_back(machine: Emulator) -> None:
    """bytes are passed by address; a bytearray is copied back."""
    store = machine.function("ldr x2, [x0]\nstr x2, [x1]\nmov x0, #7\nret")
    out = bytearray(8)
    assert store(b"12345678", out) == 7
    assert out == b"12345678"


def test_a_result_has_the_width_of_its_c_type(machine: Emulator) -> None:
    """bits=32 leaves out what C leaves undefined above an int."""
    code = "movn x0, #0\nret"
    assert machine.function(code)() == 2**64 - 1
    assert machine.function(code, bits=32)() == 2**32 - 1


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("str x0, [x1]", "str x0, [x1]: writes to 0x2 (8 bytes): x0=0x1 x1=0x2"),
        ("ldr x0, [x1, #8]", "ldr x0, [x1, #0x8]: reads from 0xa (8 bytes): x0=0x1 x1=0x2"),
        ("br x2", "branch to 0x3, where there is no code"),
        ("brk #1", "brk #0x1: breakpoint"),
        ("udf #0", "udf #0x0: undefined instruction"),
        ("svc #5", "svc #0x5: system call, and there is no kernel"),
        ("adr x3, 0x10000\nstr x0, [x3]", "0x10004: str x0, [x3]: writes to 0x10000 (8 bytes)"),
    ],
)
def test_a_fault_says_where_and_why(machine: Emulator, code: str, expected: str) -> None:
    """A fault names the instruction, what it did, and the registers that it used."""
    function = machine.function(code, at=0x10000)
    with pytest.raises(EmulatorFault) as fault:
        function(1, 2, 3)
    assert expected in str(fault.value)
    assert "\n" not in str(fault.value)


def test_an_instruction_outside_the_table_is_shown_as_its_word(machine: Emulator) -> None:
    """A faulting load that the a64 table lacks is shown as its word, with its base register."""
    ldr_q = machine.function(bytes.fromhex("2000c03d") + bytes.fromhex("c0035fd6"))  # ldr q0, [x1]
    expected = r"\.inst 0x3dc00020: reads from 0x2 .*: x1=0x2 lr="
    with pytest.raises(EmulatorFault, match=expected):
        ldr_q(1, 2)
    literal = machine.function(bytes.fromhex("4000001c"), at=0x10FFC)  # ldr s0, [pc, #8]
    with pytest.raises(EmulatorFault, match=r"\.inst 0x1c000040: .* \(4 bytes\): lr="):
        literal()


def test_runs_are_bounded() -> None:
    """An endless loop ends after the machine's instructions, or its seconds."""
    with pytest.raises(OutOfBounds, match="no return after 1000 instructions"):
        Emulator(instructions=1000).function(bytes.fromhex("00000014"))()
    with pytest.raises(OutOfBounds, match=r"no return after 0\.1 s"):
        Emulator(instructions=10**12, seconds=0.1).function(bytes.fromhex("00000014"))()


def test_text_stays_read_only(machine: Emulator) -> None:
    """Code cannot write a trampoline, before and after a retarget: only the retarget can."""
    f, g = machine.function(ADD_1), machine.function(ADD_100)
    call = machine.static_call("call", target=f)
    call.update(g)
    store = machine.function("str w1, [x0]\nret")
    with pytest.raises(EmulatorFault, match="writes to"):
        store(call.address + 4, 0)
    assert call(3) == 103


def test_bad_targets_change_nothing(machine: Emulator) -> None:
    """A target that cannot be called is refused before anything is written."""
    f = machine.function(ADD_1)
    call = machine.static_call("call", target=f)
    adrp_add = machine.static_call("other", target=f, design="adrp-add")
    before = machine.read(call.address, 40), machine.read(call.key or 0, 8)
    data = machine.allocate(16)
    refused: list[tuple[int | str, type[StaticCallError], str]] = [
        (f.address + 2, Misaligned, "not aligned to 4"),
        (data, BadTarget, "not an address|not in executable memory"),
        (0, BadTarget, "not an address|not in executable memory"),
        (call.address, BadTarget, "its own trampoline"),
        ("nowhere", StaticCallError, "no symbol nowhere"),
    ]
    for target, error, text in refused:
        with pytest.raises(error, match=text):
            call.update(target)
    with pytest.raises(Unreachable, match="no form of adrp-add reaches"):
        adrp_add.update(machine.function(ADD_100, at=FAR))
    assert (machine.read(call.address, 40), machine.read(call.key or 0, 8)) == before
    assert call(3) == adrp_add(3) == 4


def test_a_design_of_ones_own_works_as_a_shipped_one(machine: Emulator, tmp_path: object) -> None:
    """A path serves where a shipped name does."""
    from pathlib import Path

    text = Path(notation.SHIPPED, "inline-stub.s").read_text()
    mine = Path(str(tmp_path), "mine.s")
    mine.write_text(text.replace("x16", "x17"))
    call = machine.static_call("call", target=machine.function(ADD_1), design=str(mine))
    assert call(3) == 4
    assert call.design.name == "mine"
    assert machine.read(call.address + 8, 8) == bytes.fromhex("5100005820021fd6")  # ldr x17, +8; br


def test_many_static_calls_share_pages(machine: Emulator) -> None:
    """A thousand static calls take about the memory of their bytes, not a page each."""
    f = machine.function(ADD_1)
    calls = [machine.static_call(f"call{i}", target=f) for i in range(1000)]
    span = max(call.address for call in calls) - min(call.address for call in calls)
    assert span < 1 << 20
    assert all(call(i) == i + 1 for i, call in enumerate(calls))


def test_the_pad_that_the_designs_branch_needs(tmp_path: Path) -> None:
    """BR by X9 does not land on bti c in a guarded page (Arm ARM, BTypeCompatible_BTI)."""
    text = (Path(notation.SHIPPED) / "inline-stub.s").read_text()
    own = tmp_path / "by-x9.s"
    own.write_text(text.replace("x16", "x9"))
    machine = Emulator()
    functions = {
        name: machine.function(f"{name}\nmov x0, #1\nret", at=0x40_0000_0000 + 0x1000 * number)
        for number, name in enumerate(("bti c", "bti j", "bti jc", "nop"))
    }
    for function in functions.values():
        machine.guard(range(function.address, function.address + 16))
    for design, landed in ((own, {"bti j", "bti jc"}), ("inline-stub", functions.keys() - {"nop"})):
        call = StaticCall(f"by {design}", None, design=str(design), place=machine)
        for name, function in functions.items():
            if name in landed:
                call.update(function)
                assert call() == 1
            else:
                with pytest.raises(BadTarget, match=f"starts with {name}, not with a landing pad"):
                    call.update(function)


def test_an_old_unicorn_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """2.1.1, which Debian 13 has, may run code that an update has replaced: a wrong answer."""
    monkeypatch.setattr("unicorn.unicorn_const.UC_VERSION_MINOR", 1)
    monkeypatch.setattr("unicorn.unicorn_const.UC_VERSION_PATCH", 1)
    with pytest.raises(StaticCallError, match=r"unicorn 2\.1\.1 is too old.*2\.1\.2 or newer"):
        Emulator()
    monkeypatch.setattr("unicorn.unicorn_const.UC_VERSION_PATCH", 2)
    assert Emulator().function("bti c\nret")(3) == 3

"""The parts of a place: what a static call does with memory alone, and which part it then lacks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from patience import patient
from toolchain import GCC

from static_call import RET0, Emulator, MissingPart, OwnProcess, StaticCall, load
from static_call.design.retarget import Retarget
from static_call.design.trampoline import Trampoline
from static_call.errors import BadTarget, StaticCallError
from static_call.key import KEY_SIZE, LOCK, TRAMPOLINE, KeyStore
from static_call.places.protocol import Code, Memory, Native, Runs
from static_call.sharing import Sharing

INCLUDE = Path(__file__).parents[1] / "src" / "static_call" / "include"

BASE, ONE, TWO, KEY = 0x10000, 0x10040, 0x10048, 0x10080
BTI_C, NOP, RET = 0xD503245F, 0xD503201F, 0xD65F03C0


def b(at: int, to: int) -> int:
    """B: Arm ARM C6.2.26."""
    return 0b000101 << 26 | (to - at >> 2) & 0x3FFFFFF


class Debugged:
    """A machine behind a debug stub: memory alone, an inline-stub trampoline and its key in it."""

    live = True

    def __init__(self) -> None:
        self.shared = Sharing()
        self.bytes = bytearray(0x100)
        words = [
            BTI_C, b(BASE + 4, ONE), 0x58000050, 0xD61F0200, ONE, 0,  # ldr x16, +8; br x16; literal
            BTI_C, 0xD2800000, BTI_C, RET,  # ret0: bti c, mov x0, #0; null: bti c, ret
        ]  # fmt: skip
        for number, word in enumerate(words):
            self.store(BASE + 4 * number, word, 4)
        for at in (ONE, TWO):
            self.store(at, BTI_C, 4)
            self.store(at + 4, RET, 4)
        self.store(KEY, ONE, 8)
        self.store(KEY + 8, BASE, 8)

    def store(self, address: int, value: int, size: int) -> None:
        """Stores a number."""
        self.bytes[address - BASE : address - BASE + size] = value.to_bytes(size, "little")

    def load(self, address: int, size: int) -> int:
        """Loads a number."""
        return int.from_bytes(self.read(address, size), "little")

    def read(self, address: int, size: int) -> bytes:
        """As places.protocol.Memory says."""
        return bytes(self.bytes[address - BASE : address - BASE + size])

    def perform(self, retarget: Retarget, key: KeyStore | None = None) -> None:
        """As places.protocol.Memory says."""
        if key is not None:
            self.store(key.key, key.function, 8)
        for step in retarget.steps:
            if step.op == "store":
                self.store(step.address, step.value, step.size)


class Image:
    """What knows the symbols and the code of that machine."""

    def resolve(self, name: str) -> int:
        """As places.protocol.Code says."""
        try:
            return {"one": ONE, "two": TWO}[name]
        except KeyError:
            raise StaticCallError(f"no symbol {name}") from None

    def executable(self, address: int, *, held: bool = False) -> bool:
        """As places.protocol.Code says."""
        return BASE <= address < KEY

    def guarded(self, address: int) -> bool:
        """As places.protocol.Code says."""
        return True


def found(place: Debugged, **other: object) -> StaticCall:
    """The static call in it."""
    trampoline = Trampoline(load("inline-stub"), BASE)
    return StaticCall.found("policy", trampoline, place, KEY, **other)  # type: ignore[arg-type]


def test_memory_alone_with_names_from_elsewhere() -> None:
    """Found, updated to what a name says, and read back: slot, literal and key."""
    place = Debugged()
    assert isinstance(place, Memory)
    assert not any(isinstance(place, part) for part in (Code, Runs, Native))
    call = found(place, code=Image())
    assert (call.form, call.target, call.key_value) == ("near", ONE, ONE)
    call.update("two")
    assert place.load(BASE + 4, 4) == b(BASE + 4, TWO)
    assert place.load(BASE + 16, 8) == TWO
    assert place.load(KEY, 8) == TWO
    assert (call.form, call.target) == ("near", TWO)
    call.update(None)
    assert place.load(BASE + 4, 4) == b(BASE + 4, BASE + 32)
    assert place.load(KEY, 8) == BASE  # a key of static_call.h without a function
    assert call.target is None
    with pytest.raises(BadTarget, match="not in executable memory"):
        call.update(KEY)
    with pytest.raises(StaticCallError, match="no symbol three"):
        call.update("three")
    assert call.target is None


def test_memory_alone_says_what_it_cannot() -> None:
    """Where nobody knows names or code, None works; the rest is refused and changes nothing."""
    place = Debugged()
    call = found(place)
    call.update(None)
    assert (call.form, call.target) == ("null", None)
    before = bytes(place.bytes)
    for target, match in ((TWO, "whether there is code at 0x10048"), ("two", "knows no symbols")):
        with pytest.raises(MissingPart, match=match):
            call.update(target)
    with pytest.raises(BadTarget, match=r"__static_call_return0: .* knows no symbols"):
        call.update(RET0)  # the key would hold it
    with pytest.raises(MissingPart, match="code at 0x10048"):
        found(place, resolve=Image().resolve).update("two")
    with pytest.raises(MissingPart, match="nothing runs"):
        call()
    with pytest.raises(MissingPart, match="C code of this process cannot call it"):
        _ = call._as_parameter_
    with pytest.raises(BadTarget):
        call.update(print)
    assert bytes(place.bytes) == before


def test_a_key_of_linux_has_no_lock_and_holds_0_for_none() -> None:
    """What follows the function there is not the trampoline's address."""
    place = Debugged()
    place.store(KEY + 8, 0, 8)
    call = found(place, code=Image())
    assert not call.has_own_key
    call.update(None)
    assert place.load(KEY, 8) == 0


def test_a_key_under_clangs_cfi_has_the_address_of_a_branch() -> None:
    """A key that holds the address of a branch to the trampoline is the trampoline's own."""
    stub = TWO + 8
    for to, own in ((BASE, True), (TWO, False)):
        place = Debugged()
        place.store(KEY + 8, stub, 8)
        place.store(stub, b(stub, to), 4)
        for call in (found(place), found(place, code=Image())):
            assert call.has_own_key == own
        call.update(None)
        assert place.load(KEY, 8) == (stub if own else 0)


def test_plans_are_used_again() -> None:
    """A plan for the same bytes is the same object; a trampoline keeps the last 16."""
    machine = Emulator()
    functions = [machine.function("bti c\nret") for _ in range(20)]
    call = machine.static_call("it", functions[0])
    shared = machine.shared.of(call.address)

    def plan(to: int) -> Retarget:
        return shared.plan(call.trampoline, functions[to].address, machine.read, fresh=True)

    first = plan(1)
    assert plan(1) is first
    call.update(functions[2])
    assert plan(1) is not first
    call.update(functions[0])
    assert plan(1) is first
    for to in range(20):
        plan(to)
    assert plan(19) is plan(19)
    assert plan(1) == first
    assert plan(1) is not first


def test_the_parts_of_the_places() -> None:
    """An emulated machine runs code, which C code of this process cannot call."""
    machine = Emulator()
    assert all(isinstance(machine, part) for part in (Memory, Code, Runs))
    assert not isinstance(machine, Native)
    members = set(dir(OwnProcess))
    assert {"read", "perform", "live", "shared", "resolve", "executable", "guarded"} <= members
    assert {"call", "reserve", "create", "callable", "pointer", "parameter"} <= members


def test_a_function_of_another_machine_is_no_target() -> None:
    """A function or a static call is a target in its own memory alone."""
    one, other = Emulator(), Emulator()
    f = one.function("bti c\nret")
    call = one.static_call("it", f)
    for target in (f, call):
        with pytest.raises(BadTarget, match="another"):
            other.static_call("it", target)


def test_the_layout_of_a_key(tmp_path: Path) -> None:
    """KEY_SIZE and the offsets are those of static_call.h, as a compiler has them."""
    source = tmp_path / "key.c"
    source.write_text(
        "#include <stddef.h>\n#include <static_call.h>\n"
        f'_Static_assert(sizeof(struct static_call_key) == {KEY_SIZE}, "");\n'
        '_Static_assert(offsetof(struct static_call_key, func) == 0, "");\n'
        f'_Static_assert(offsetof(struct static_call_key, tramp) == {TRAMPOLINE}, "");\n'
        f'_Static_assert(offsetof(struct static_call_key, lock) == {LOCK}, "");\n'
    )
    GCC("-c", f"-I{INCLUDE}", source, "-o", tmp_path / "key.o")


def python(code: str) -> str:
    """What a new Python prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=patient(60)
    )
    assert not done.returncode, done.stderr
    return done.stdout


def test_a_static_call_without_a_default_place_says_so() -> None:
    """calls.py alone knows no place; one that static_call gave has host()'s."""
    out = python(
        "from static_call.calls import StaticCall\n"
        "from static_call.errors import MissingPart\n"
        "try: StaticCall('it')\n"
        "except MissingPart as error: print(error)\n"
        "import static_call\n"
        "print(static_call.StaticCall is StaticCall)\n"
        "print(StaticCall('it').place is static_call.host())\n"
    )
    refused, *same = out.splitlines()
    assert "pass place=" in refused
    assert same == ["True", "True"]

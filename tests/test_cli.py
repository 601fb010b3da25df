"""The command line on real files: what it prints, its exit status, and what it leaves alone."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import termios
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TextIO

import pytest
from patience import patient
from toolchain import GCC, need, qemu, run

from static_call.cli.main import VERBS, main
from static_call.design import notation

ROOT = Path(__file__).parent.parent
INCLUDE = ROOT / "src/static_call/include"
POLICY = """
#include <stdio.h>
#include <stdlib.h>
#include "static_call.h"
int slow(int x) { return x + 1; }
int fast(int x) { return x + 2; }
int hops(int x);
__asm__(".text; .type hops, %function; hops: b fast; .size hops, .-hops");
char data[8] = "data";
DEFINE_STATIC_CALL(policy, slow);
DEFINE_STATIC_CALL_NULL(hook, slow);
DEFINE_STATIC_CALL_RET0(check, slow);
int work(int x) { return static_call(policy)(x); }
int tail(int x) { return static_call(check)(x) + static_call(policy)(x); }
int main(int argc, char **argv)
{
	(void)argc;
	printf("%d %d %d\\n", work(atoi(argv[1])), static_call(hook)(7), static_call(check)(7));
	return 0;
}
"""
KINDS = {
    "static": ("-static", "-fno-pie", "-no-pie"),
    "pie": ("-fPIE", "-pie"),
    "static-pie": ("-fPIE", "-static-pie"),
    "bti": ("-static", "-fno-pie", "-no-pie", "-mbranch-protection=standard"),
}


def tool(*arguments: str | Path, status: int = 0, warns: bool = False) -> str:
    """Runs static-call; gives its output, or what it says on stderr: where it fails or warns."""
    done = subprocess.run(
        [sys.executable, "-m", "static_call", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=patient(120),
    )
    assert done.returncode == status, done.stderr
    if status == 0 and not warns:
        assert not done.stderr
        return done.stdout
    assert "Traceback" not in done.stderr
    return done.stderr


def refused(*arguments: str | Path, status: int = 2) -> str:
    """The one line that static-call refuses with."""
    text = tool(*arguments, status=status)
    assert text.startswith("static-call: ")
    assert text.count("\n") == 1
    return text


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The program of the tests, linked in each kind."""
    need("aarch64-linux-gnu-gcc")
    folder = tmp_path_factory.mktemp("programs")
    source = folder / "policy.c"
    source.write_text(POLICY)
    built = {}
    for kind, flags in KINDS.items():
        built[kind] = folder / kind
        GCC("-O1", "-g0", *flags, f"-I{INCLUDE}", source, "-o", built[kind])
    return built


@pytest.fixture
def program(programs: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the static one, to be changed."""
    return Path(shutil.copy(programs["static"], tmp_path / "policy"))


def calls(path: Path, *options: str) -> dict[str, dict[str, object]]:
    """What list --json says, by name."""
    listed = json.loads(tool("list", "--json", *options, path))
    return {call["name"]: call for call in listed["static_calls"]}


@pytest.mark.parametrize("kind", KINDS)
def test_list_says_what_readelf_and_objdump_say(programs: dict[str, Path], kind: str) -> None:
    """Addresses are those of readelf's symbols, sites those that objdump disassembles."""
    path = programs[kind]
    found = calls(path, "--sites")
    assert set(found) == {"policy", "hook", "check"}
    symbols = {
        fields[7]: int(fields[1], 16)
        for line in run("aarch64-linux-gnu-readelf", "-sW", path).stdout.splitlines()
        if len(fields := line.split()) == 8 and fields[1] != "Value"
    }
    code = run("aarch64-linux-gnu-objdump", "-d", path).stdout
    for name, call in found.items():
        assert call["address"] == symbols[f"__SCT__{name}"]
        assert call["design"] == ("adrp-stub" if "pie" in kind else "inline-stub")
        assert call["sites"] == len(re.findall(rf"\s(?:b|bl)\t[0-9a-f]+ <__SCT__{name}>", code))
        key = call["key"]
        assert isinstance(key, dict)
        assert key["address"] == symbols[f"__SCK__{name}"]
    assert [found[name]["form"] for name in ("policy", "hook", "check")] == ["near", "null", "ret0"]
    target = {"address": symbols["slow"], "symbol": "slow", "via": ""}
    assert found["policy"]["target"] == target


@pytest.mark.parametrize("kind", KINDS)
def test_set_changes_what_the_program_does(
    programs: dict[str, Path], kind: str, tmp_path: Path
) -> None:
    """The real program, run by qemu, calls what it was set to, in every kind of link."""
    path = Path(shutil.copy(programs[kind], tmp_path / kind))
    assert qemu(path, "3") == "4 7 0\n"
    tool("set", path, "policy=fast", "hook=slow", "check=fast")
    assert qemu(path, "3") == "5 8 9\n"
    tool("set", path, "policy=null", "hook=ret0", "check=null")
    assert qemu(path, "3") == "3 0 7\n"
    tool("set", path, "policy=slow", "hook=null", "check=ret0")
    assert qemu(path, "3") == "4 7 0\n"
    assert path.read_bytes() == programs[kind].read_bytes()  # nothing else was touched


def test_set_takes_addresses_and_writes_copies(program: Path, tmp_path: Path) -> None:
    """0xADDR serves for a name and for a target; -o leaves the file as it was."""
    before = program.read_bytes()
    entry = calls(program)["policy"]["address"]
    line = run("aarch64-linux-gnu-nm", program).stdout
    fast = re.search(r"^(\w+) T fast$", line, re.M)
    assert fast
    tool("set", program, f"{entry:#x}=0x{fast[1]}", "-o", tmp_path / "copy")
    assert program.read_bytes() == before
    assert qemu(tmp_path / "copy", "3") == "5 7 0\n"


def test_call_runs_in_the_emulated_machine(program: Path) -> None:
    """A function and a static call can be called, retargeted in the machine first."""
    assert tool("call", program, "work", "3", "--bits", "32") == "4 = 0x4\n"
    assert tool("call", program, "policy", "3", "--set", "policy=fast") == "5 = 0x5\n"
    assert tool("call", program, "policy", "3", "--set", "policy=ret0") == "0 = 0x0\n"
    assert re.fullmatch(
        r"4 = 0x4 \(\d+ instructions\)\n", tool("call", "--count", program, "work", "3")
    )
    assert calls(program)["policy"]["form"] == "near"  # the file is as it was


def test_show_prints_words_as_objdump_does(program: Path) -> None:
    """The listing's words are the bytes that objdump shows at those addresses."""
    shown = json.loads(tool("show", "--json", program, "policy"))
    words = {line["address"]: line["bytes"] for line in shown["listing"]}
    code = run("aarch64-linux-gnu-objdump", "-d", program).stdout
    for address, word in words.items():
        if len(word) == 8:
            assert re.search(rf"^ +{address:x}:\t{word} ", code, re.M), hex(address)
    text = tool("show", program, "policy")
    assert "inline-stub, near, target slow, key slow" in text
    assert re.search(r"slot: b 0x[0-9a-f]+ <slow>", text)


def test_a_stub_that_only_branches_is_looked_through(program: Path) -> None:
    """A target that only branches on is named with where it leads."""
    tool("set", program, "policy=hops")
    assert "fast via hops" in tool("list", program)
    assert qemu(program, "3") == "5 7 0\n"


def test_scan_finds_trampolines_without_symbols(program: Path) -> None:
    """A stripped file has no names, but the same trampolines in the same forms."""
    named = {call["address"]: call["form"] for call in calls(program).values()}
    run("aarch64-linux-gnu-strip", program)
    assert "not known" in tool("list", program, status=2)
    found = calls(program, "--scan")
    assert {call["address"]: call["form"] for call in found.values()} == named
    entry = next(address for address, form in named.items() if form == "ret0")
    done = tool("set", program, f"{entry:#x}=null", warns=True)
    assert "no key is known" in done
    assert qemu(program, "3") == "4 7 7\n"


def test_a_design_of_ones_own_is_recognised(program: Path, tmp_path: Path) -> None:
    """-d FILE works in list as a shipped design does; so do its long name and the former one."""
    mine = tmp_path / "mine.s"
    mine.write_text(Path(notation.SHIPPED, "inline-stub.s").read_text())
    for option in ("-d", "--add-design", "--design"):
        assert calls(program, option, str(mine))["policy"]["design"] == "mine"


def test_designs_lists_and_shows() -> None:
    """Every shipped design is listed; JSON has the costs that the header of the table speaks of."""
    listed = {design["name"]: design for design in json.loads(tool("designs", "--json"))}
    assert set(listed) == set(notation.shipped())
    assert listed["inline-stub"]["forms"]["near"]["instructions"] == 2
    assert listed["inline-stub"]["forms"]["far"]["instructions"] == 4
    assert "dmb ishst" in tool("designs", "inline-stub")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (["nothing=fast"], "no static call nothing: it has check, hook, policy"),
        (["policy=nowhere"], "nowhere"),
        (["policy=data"], "not in executable"),
        (["policy=0x3"], "not aligned to 4"),
        (["policy=0x10000000"], "not in executable"),
        (["policy=__SCT__policy"], "its own trampoline"),
        (["hook=fast", "policy=nowhere"], "nowhere"),
        (["0x400000=fast"], "not a trampoline of a known design"),
        (["0xzz=fast"], "0xzz is not an address"),
    ],
)
def test_what_set_refuses(program: Path, change: list[str], text: str) -> None:
    """One line says what is wrong, and the file is as it was: all names or none."""
    before = program.read_bytes()
    assert text in refused("set", program, *change)
    assert program.read_bytes() == before
    assert os.listdir(program.parent) == [program.name]


@pytest.mark.parametrize(
    "arguments",
    [["set", "FILE", "policy"], ["set", "FILE", "policy=fast", "policy=slow"],
     ["set", "FILE", "=fast"], ["call", "FILE", "work", "three"], ["list"], ["list", "FILE", "-x"],
     ["list", "FILE", "FILE"], ["call", "FILE", "work", "--bits", "7"], ["check", "--steps", "0"]],
)  # fmt: skip
def test_misuse_is_one_line(program: Path, arguments: list[str]) -> None:
    """A command line that makes no sense ends with status 2."""
    refused(*(str(program) if word == "FILE" else word for word in arguments))


def test_foreign_bytes_under_a_trampolines_symbol(program: Path) -> None:
    """list shows such a static call as one of no known design; show and set refuse it."""
    entry = calls(program)["policy"]["address"]
    assert isinstance(entry, int)
    data = bytearray(program.read_bytes())
    offset = _file_offset(program, entry)
    assert data[offset : offset + 4] == bytes.fromhex("5f2403d5")
    data[offset : offset + 4] = bytes.fromhex("1f2003d5")
    program.write_bytes(data)
    assert re.search(r"^policy +0x\w+ +\? +\? +not a trampoline", tool("list", program), re.M)
    assert "not a trampoline of a known design" in refused("show", program, "policy")
    assert "not a trampoline of a known design" in refused("set", program, "policy=fast")
    assert calls(program)["hook"]["form"] == "null"


def _file_offset(path: Path, address: int) -> int:
    """Where readelf says that an address is in the file."""
    for line in run("aarch64-linux-gnu-readelf", "-lW", path).stdout.splitlines():
        fields = line.split()
        if fields[:1] == ["LOAD"]:
            offset, start, _, size = (int(field, 16) for field in fields[1:5])
            if start <= address < start + size:
                return address - start + offset
    raise AssertionError(hex(address))


def test_a_target_without_a_landing_pad(tmp_path: Path) -> None:
    """In a BTI-marked file a far target needs a pad; a near one is reached without."""
    need("aarch64-linux-gnu-gcc")
    source = Path(__file__).parent / "c" / "pads.c"
    path = tmp_path / "pads"
    GCC(*KINDS["bti"], "-O1", f"-I{INCLUDE}", source, "-o", path,
        "-Wl,--section-start=.far=0x20000000", "-Wl,-z,force-bti", "-Wl,--no-warnings")  # fmt: skip
    before = path.read_bytes()
    assert "landing pad" in refused("set", path, "policy=away")
    assert path.read_bytes() == before
    tool("set", path, "policy=bare")
    assert tool("call", path, "main") == "2 = 0x2\n"
    tool("set", path, "policy=padded")
    assert calls(path)["policy"]["form"] == "far"
    assert tool("call", path, "main") == "4 = 0x4\n"


def test_a_shared_object_calls_others_functions(tmp_path: Path) -> None:
    """A target that is reached by a PLT entry, and one that another file defines, are named."""
    need("aarch64-linux-gnu-gcc")
    source = tmp_path / "lib.c"
    source.write_text(
        '#include "static_call.h"\n'
        "int own(int x) { return x + 1; }\n"
        "int other(int x);\n"
        "DEFINE_STATIC_CALL(a, own);\nDEFINE_STATIC_CALL(b, other);\n"
        "int use(int x) { return static_call(a)(x) + static_call(b)(x); }\n"
    )
    path = tmp_path / "lib.so"
    GCC("-O1", "-fPIC", "-shared", f"-I{INCLUDE}", source, "-o", path)
    text = tool("list", path)
    assert re.search(r"^a .* near +own via own@plt +own$", text, re.M), text
    assert re.search(r"^b .* near +other via other@plt +other$", text, re.M), text
    tool("set", path, "a=null")
    assert tool("call", path, "a", "3") == "3 = 0x3\n"


def test_not_a_file_for_it(program: Path, tmp_path: Path) -> None:
    """A file that is not an arm64 ELF file gets one line, whatever the verb."""
    text = tmp_path / "text"
    text.write_text("hello")
    for verb, *more in (["list"], ["show", "x"], ["set", "x=y"], ["call", "x"]):
        assert "not an ELF file" in refused(verb, text, *more)
        assert "No such file" in refused(verb, tmp_path / "none", *more)
    elf = bytearray(program.read_bytes())
    elf[18] = 62  # e_machine: EM_X86_64
    text.write_bytes(elf)
    assert "x86-64, not for arm64" in refused("list", text)
    assert "not a regular file" in refused("list", tmp_path)


def test_output_may_be_cut_off(program: Path) -> None:
    """A reader that stops reading ends it quietly."""
    done = subprocess.run(
        f"{sys.executable} -m static_call list --json {program} | head -n 1",
        shell=True, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "{\n"
    assert not done.stderr


def test_cflags_names_the_header() -> None:
    """The folder that cflags prints has static_call.h."""
    flags = tool("cflags").strip()
    assert flags.startswith("-I")
    assert Path(flags.removeprefix("-I"), "static_call.h").is_file()


def test_static_calls_of_one_name_are_told_apart(tmp_path: Path) -> None:
    """Two files with a hidden static call of the same name: both are listed, each with its key,
    and which is meant has to be said by the address."""
    need("aarch64-linux-gnu-gcc")
    objects = []
    for file in "ab":
        source = tmp_path / f"{file}.c"
        source.write_text(
            '#include "static_call.h"\n'
            f"int {file}1(int x) {{ return x; }}\n"
            f"DEFINE_STATIC_CALL(same, {file}1);\n"
            f"int {file}2(int x) {{ return static_call(same)(x); }}\n"
        )
        objects.append(tmp_path / f"{file}.o")
        GCC("-O1", "-fno-pie", f"-I{INCLUDE}", "-c", source, "-o", objects[-1])
        local = (f"-L__SC{kind}__same" for kind in "TKO")
        run("aarch64-linux-gnu-objcopy", *local, objects[-1])
    main = tmp_path / "main.c"
    main.write_text("int a2(int), b2(int); int main(void) { return a2(1) + b2(1); }\n")
    path = tmp_path / "both"
    GCC(*KINDS["static"], main, *objects, "-o", path)
    listed = json.loads(tool("list", "--json", path))["static_calls"]
    assert {call["target"]["symbol"] for call in listed} == {"a1", "b1"}
    assert all(call["key"]["symbol"] == call["target"]["symbol"] for call in listed)
    assert "say which by the address" in refused("set", path, "same=null")
    tool("set", path, f"{listed[0]['address']:#x}=null")
    again = json.loads(tool("list", "--json", path))["static_calls"]
    assert [call["form"] for call in again] == ["null", "near"]
    assert [call["key"]["value"] == 0 for call in again] == [True, False]


def test_a_function_that_the_loader_chooses(tmp_path: Path) -> None:
    """An ifunc goes by its name, not by its resolver's or its PLT's; as a target it is refused in a
    file, and resolved in the machine."""
    need("aarch64-linux-gnu-gcc")
    source = tmp_path / "ifunc.c"
    source.write_text(
        '#include "static_call.h"\n'
        "static int one(int x) { return x + 1; }\n"
        "int plain(int x) { return x + 5; }\n"
        "static void *choose(void) { return (void *)one; }\n"
        'int chosen(int x) __attribute__((ifunc("choose")));\n'
        "DEFINE_STATIC_CALL(policy, chosen);\n"
        "int main(void) { return static_call(policy)(1); }\n"
    )
    path = tmp_path / "ifunc"
    GCC(*KINDS["static"], "-O1", f"-I{INCLUDE}", source, "-o", path)
    assert tool("call", path, "chosen", "3", "--bits", "32") == "4 = 0x4\n"
    assert tool("call", path, "policy", "3", "--bits", "32") == "4 = 0x4\n"
    assert re.search(r"^policy .* near +chosen via chosen@plt ", tool("list", path), re.M)
    assert "indirect function" in refused("set", path, "policy=chosen")
    call = ("call", path, "policy", "3", "--bits", "32")
    assert tool(*call, "--set", "policy=plain") == "8 = 0x8\n"
    assert tool(*call, "--set", "policy=chosen") == "4 = 0x4\n"


def test_a_design_whose_retarget_does_something_else(program: Path, tmp_path: Path) -> None:
    """A user's retarget that leaves a cell out, or writes elsewhere, is refused beforehand."""
    text = Path(notation.SHIPPED, "inline-stub.s").read_text()
    head, _, code = text.partition("retarget:")
    for wrong, says in [
        (code.replace("str     w1, [x0]", "dmb     ish"), "leaves slot"),
        (
            code.replace("str     x3, [x2]", "str     x3, [x2]\n  str x3, [x0, #64]"),
            "is not a cell",
        ),
    ]:
        mine = tmp_path / "wrong.s"
        mine.write_text(f"{head}retarget:{wrong}")
        before = program.read_bytes()
        assert says in refused("set", "-d", mine, program, "policy=fast")
        assert program.read_bytes() == before


def _terminal(code: str) -> str:
    """What Python code writes on a terminal of 40 columns."""
    shell, terminal = os.openpty()
    termios.tcsetwinsize(terminal, (24, 40))
    environment = {k: v for k, v in os.environ.items() if k != "COLUMNS"}
    try:
        subprocess.run(
            [sys.executable, "-c", code], check=True, env=environment, timeout=patient(60),
            stdin=terminal, stdout=terminal, stderr=terminal,
        )  # fmt: skip
        os.close(terminal)
        text = b""
        with suppress(OSError):  # EIO: nobody has the terminal any more
            while data := os.read(shell, 4096):
                text += data
        return text.decode()
    finally:
        os.close(shell)


def test_progress_is_a_line_that_goes_away() -> None:
    """It appears after a second, on a terminal, fits its width, and is removed at the end."""
    work = (
        "import time; clock = iter({times}); time.monotonic = lambda: next(clock)\n"
        "from static_call.cli.output import Progress\n"
        "with Progress() as progress:\n"
        "    progress(1, 3, 'first'); progress(2, 3, 'x' * 50)\n"
    )
    assert _terminal(work.format(times=[0, 0.5, 0.9])) == ""
    line = f"2/3 {'x' * 35}"
    assert _terminal(work.format(times=[0, 0.5, 1.1, 1.1])) == f"\r{line}\x1b[K\r\x1b[K"
    quiet = work.format(times=[0, 0.5, 1.1, 1.1]) + "import sys; assert not sys.stderr.isatty()"
    done = subprocess.run([sys.executable, "-c", quiet], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


INSTALLED = str(Path(sys.executable).with_name("static-call"))


def _run(
    *arguments: str, stdout: TextIO | int, buffered: bool = True
) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONUNBUFFERED": "" if buffered else "1"}
    return subprocess.run(
        [INSTALLED, *arguments], stdout=stdout, env=environment,
        stderr=subprocess.PIPE, text=True, timeout=patient(120), check=False,
    )  # fmt: skip


def test_a_full_disk_under_the_output_is_trouble() -> None:
    """One line says so, and the exit status is 2, not the interpreter's 120, nor 0."""
    with open("/dev/full", "w", encoding="utf-8") as full:
        for arguments in (["designs"], ["designs", "--json"], ["--help"], ["list", "--help"]):
            for buffered in (True, False):
                done = _run(*arguments, stdout=full, buffered=buffered)
                assert done.returncode == 2
                assert done.stderr == "static-call: standard output: No space left on device\n"
        quiet = subprocess.run([INSTALLED, "list", "nowhere"], stderr=full, check=False)
        assert quiet.returncode == 2


def test_a_full_disk_under_a_file_is_trouble_that_names_it() -> None:
    """What `check` writes itself: the message has the file's name, not standard output's."""
    for option in ("--svg", "--html"):
        done = _run(
            "check",
            "--explain",
            "mainline",
            "farA-farB",
            option,
            "/dev/full",
            stdout=subprocess.PIPE,
        )
        assert done.returncode == 2
        assert done.stderr == "static-call: /dev/full: No space left on device\n"


def test_help_has_no_colour_on_a_terminal_either() -> None:
    """argparse of Python 3.14 and newer would colour it, and gives each parser an argument more."""
    shown = _terminal(
        "from static_call.cli.main import main; main(['--help']); main(['list', '-h'])"
    )
    assert "usage: static-call list " in shown
    assert "\x1b" not in shown


def test_options_and_operands_come_in_any_order(
    program: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As with GNU tools; after `--` all are operands. What is too much or missing is named."""
    path = str(program)
    for words in (
        ["--count", path, "work", "3", "--bits", "32"],
        [path, "--count", "work", "--bits=32", "3"],
        [path, "work", "--count", "3", "--bits", "32"],
        ["--bits", "32", "--count", "--", path, "work", "3"],
    ):
        assert main(["call", *words]) == 0
        assert re.fullmatch(r"\d+ = 0x\w+ \(\d+ instructions\)\n", capsys.readouterr().out)
    copy = str(program.with_name("copy"))
    assert main(["set", path, "policy=null", "-o", copy, "hook=ret0"]) == 0
    assert capsys.readouterr().out == "policy = null (null)\nhook = ret0 (ret0)\n"
    for arguments, says in (
        (["list", path, path], f"list: unrecognized arguments: {path}"),
        (["call", path], "call: the following arguments are required: NAME"),
        (["list", "--", "--json"], "--json: No such file or directory"),
        (["list", ""], "'': No such file or directory"),
    ):
        assert main(arguments) == 2
        assert capsys.readouterr().err.startswith(f"static-call: {says}")


def test_what_is_asked_for_is_done_or_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """An empty name is a name, and options that would be ignored are misuse: never a silent 0."""
    for arguments, says in (
        (["check", "mainline", "--litmus", ""], "''"),
        (
            ["check", "--explain", "mainline", "farA-farB", "--svg", ""],
            "needs the name of a file",
        ),
        (["check", "--explain", "mainline", "farA-farB", "--property", ""], "none of"),
        (["check", "--svg", ""], "--svg, --dot, --html and --property go with --explain"),
        (["check", "mainline", "--litmus", "questions", "--two"], "no --json or --two"),
        (["check", "mainline", "--litmus", "questions", "--json"], "no --json or --two"),
    ):
        assert main(arguments) == 2
        assert says in capsys.readouterr().err
    assert not Path("questions").exists()


def test_a_dependency_that_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without unicorn the emulated machine says so; what does not need it works."""
    for name in [name for name in sys.modules if name.startswith("static_call.places.emulator")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "unicorn", None)
    assert main(["designs"]) == 0
    capsys.readouterr()
    assert main(["call", "program", "function"]) == 2
    shown = capsys.readouterr().err
    assert shown == "static-call: this needs unicorn, which is not installed: pip install unicorn\n"


def test_output_that_nobody_reads_ends_it_as_sigpipe_would() -> None:
    """Exit status 141, as shells report for a program that SIGPIPE ended, and no message: there is
    no answer, so neither 0 nor 1."""
    for arguments in (["designs", "--json"], ["--help"]):
        reader, writer = os.pipe()
        os.close(reader)
        try:
            done = _run(*arguments, stdout=writer)
        finally:
            os.close(writer)
        assert (done.returncode, done.stderr) == (141, "")


def test_an_error_of_its_own_is_trouble(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Any other exception is one line that says so, never a "no"; the traceback is available."""

    def broken(_: object) -> int:
        raise ZeroDivisionError("of something")

    monkeypatch.setattr("static_call.cli.verbs.designs.run", broken)
    for wanted in ("", "1"):
        monkeypatch.setenv("STATIC_CALL_TRACEBACK", wanted)
        assert main(["designs"]) == 2
        said = capsys.readouterr().err
        line = said.splitlines()[-1]
        assert line.startswith("static-call: an error of static-call itself: ZeroDivisionError: of")
        assert "STATIC_CALL_TRACEBACK=1" in line
        assert ("Traceback" in said) == bool(wanted)
        assert bool(wanted) == (said.count("\n") > 1)


def test_interrupted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C gives one line and the status that shells use for it."""

    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("static_call.cli.verbs.designs.run", interrupted)
    assert main(["designs"]) == 130
    assert capsys.readouterr().err == "static-call: interrupted\n"


def _verb(name: str) -> ModuleType:
    return import_module(f"static_call.cli.verbs.{name}")


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "kernel"])
def test_the_example_of_a_verbs_help_works(program: Path, verb: str) -> None:
    """Each line of it runs, in a folder with a program that has such static calls."""
    program.rename(program.with_name("program"))
    program.with_name("program.c").write_text(POLICY)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    lines = _verb(verb).EXAMPLE.splitlines()
    assert any(f"static-call {verb}" in line for line in lines)
    for line in lines:
        done = subprocess.run(
            ["bash", "-ec", line.removeprefix("$ ")], cwd=program.parent, env=environment,
            capture_output=True, text=True, timeout=patient(120), check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert not done.stderr


def test_help_imports_no_room_and_a_verb_no_other_verb() -> None:
    """Start-up: the help of all verbs and of one is there without any room but the command line's,
    and a verb's command line imports that verb alone."""
    slow = {"shutil", "typing", "dataclasses", "subprocess", "json"}
    if sys.version_info[:2] == (3, 14):
        slow.remove("dataclasses")  # its argparse imports that for its colours
    for arguments, verbs in (
        (["--help"], {*VERBS}),
        *(([verb, "--help"], {verb}) for verb in VERBS),
    ):
        code = (
            f"import sys; from static_call.cli.main import main; assert main({arguments}) == 0\n"
            "print(*(name for name in sys.modules if name.startswith('static_call')), "
            f"*({slow} & set(sys.modules)))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        ours = {
            f"static_call.cli.{name}"
            for name in (
                "main", "arguments", "completion", "output", "pictures", "static_calls", "verbs",
            )
        }  # fmt: skip
        ours |= {f"static_call.cli.verbs.{verb}" for verb in verbs}
        assert set(done.stdout.splitlines()[-1].split()) - ours == {
            "static_call", "static_call.cli", "static_call.errors"
        }  # fmt: skip


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb(
    verb: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`VERB --help`, `VERB -h` and `help VERB` are the same, within 80 columns, with an example."""
    monkeypatch.setenv("COLUMNS", "80")
    said = set()
    for arguments in ([verb, "--help"], [verb, "-h"], ["help", verb]):
        assert main(arguments) == 0
        printed = capsys.readouterr()
        assert not printed.err
        said.add(printed.out)
    (text,) = said
    assert text.startswith(f"usage: static-call {verb} ")
    assert "\nexample:\n  $ " in text
    assert max(map(len, text.splitlines())) <= 80


def test_help_when_lost(capsys: pytest.CaptureFixture[str]) -> None:
    """Alone it shows its help as misuse; a verb that is not there gets the nearest one."""
    assert main(["--help"]) == main(["-h"]) == main(["help"]) == 0
    helped = capsys.readouterr()
    assert helped.out.count("usage: static-call") == 3
    assert all(re.search(rf"^ +{verb}\b", helped.out, re.M) for verb in VERBS)
    assert main([]) == 2
    lost = capsys.readouterr()
    assert lost.out == ""
    assert lost.err * 3 == helped.out
    for arguments, says in (
        (["lst", "x"], "there is no verb lst, did you mean list?: see static-call --help"),
        (["help", "lst"], "there is no verb lst, did you mean list?: see static-call --help"),
        (["zzz"], "there is no verb zzz: see static-call --help"),
        (["--json"], "the following arguments are required: VERB: see static-call --help"),
        (["list"], "list: the following arguments are required: FILE: see static-call list --help"),
    ):
        assert main(arguments) == 2
        assert capsys.readouterr().err == f"static-call: {says}\n"


def completions(folder: Path, line: str) -> list[str]:
    """What bash offers at the end of a command line in a folder."""
    words = line.split(" ")
    script = (
        'eval "$(static-call completion bash)"\n'
        f"COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; COMP_LINE='{line}'; "
        f"COMP_POINT={len(line)}; COMP_TYPE=9\n"
        '_python_argcomplete static-call; printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env={**os.environ, "PATH": path},
        capture_output=True, text=True, timeout=patient(120), check=False,
    )  # fmt: skip
    assert not done.stderr
    return [word.strip() for word in done.stdout.splitlines() if word.strip()]


def test_bash_completes(program: Path) -> None:
    """Verbs, options, files, designs and, by reading the file, static calls."""
    (program.parent / "inline.s").touch()
    folder = program.parent
    assert set(VERBS) <= set(completions(folder, "static-call "))
    assert sorted(completions(folder, "static-call li")) == ["libs", "list", "litmus"]
    assert "--debug-file" in completions(folder, "static-call show --de")
    assert completions(folder, "static-call list pol") == ["policy"]
    assert sorted(completions(folder, "static-call check inl")) == ["inline-stub", "inline.s"]
    assert set(completions(folder, f"static-call show {program.name} ")) >= {"check", "hook"}
    assert completions(folder, f"static-call set {program.name} po") == ["policy="]
    assert completions(folder, "static-call show nowhere po") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_without_argcomplete(
    shell: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is optional: without it one line says what to install, whatever the shell."""
    assert main(["completion", shell]) == 0
    assert "static-call" in capsys.readouterr().out
    monkeypatch.setitem(sys.modules, "argcomplete.shell_integration", None)
    assert main(["completion", shell]) == 2
    assert "pip install 'static-call[completion]'" in capsys.readouterr().err


def test_python_m_is_the_same_program() -> None:
    """The module's usage names the installed program."""
    assert tool("--help").startswith("usage: static-call ")

"""Static calls of the objects that are loaded into this process."""

from __future__ import annotations

import ctypes
import gc
import shutil
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import agree, mapping, writable_code

import static_call
from static_call import RET0, StaticCallError


@pytest.fixture
def library(programs: Path, tmp_path: Path) -> Iterator[Any]:
    """library.so, loaded once more under another name, and unloaded at the end."""
    path = tmp_path / "library.so"
    shutil.copy(programs / "library.so", path)
    loaded: Any = ctypes.CDLL(str(path))
    for name in ("call_policy", "call_hook", "call_quota", "query_policy"):
        getattr(loaded, name).restype = ctypes.c_uint64
        getattr(loaded, name).argtypes = [ctypes.c_uint64] * (name != "query_policy")
    loaded.path = path
    yield loaded
    close = ctypes.CDLL(None).dlclose
    close.argtypes = [ctypes.c_void_p]
    assert close(loaded._handle) == 0
    assert not listed(path)


def listed(path: Path) -> Any:
    """What loaded() lists for a file, or None."""
    host: Any = static_call.host()
    return next((one for one in host.loaded() if one.path == str(path)), None)


def test_list(library: Any) -> None:
    """A library's static calls are listed with the library, by name, form and target."""
    found = listed(library.path)
    assert found is not None
    one = ctypes.cast(library.library_one, ctypes.c_void_p).value
    assert {call.name: (call.form, call.target) for call in found} == {
        "policy": ("near", one),
        "hook": ("null", None),
        "quota": ("ret0", RET0),
    }
    tramp = ctypes.addressof(ctypes.c_char.in_dll(library, "__SCT__policy"))
    key = ctypes.addressof(ctypes.c_char.in_dll(library, "__SCK__policy"))
    assert (found["policy"].address, found["policy"].key) == (tramp, key)


def test_a_callback_lives_as_long_as_it_is_called(library: Any) -> None:
    """A callback that only the static call has is kept, through whichever object it was set."""
    prototype = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_uint64)
    callback = prototype(lambda argument: argument + 9)
    gone = weakref.ref(callback)
    listed(library.path)["policy"].update(callback)
    del callback
    gc.collect()
    assert gone() is not None
    assert library.call_policy(50) == 59
    listed(library.path)["policy"].update("library_one")
    listed(library.path)["policy"].release()
    gc.collect()
    assert gone() is None


def test_update(library: Any) -> None:
    """An update changes what C calls, and what static_call_query says."""
    policy = listed(library.path)["policy"]
    assert (library.call_policy(50), library.call_hook(51), library.call_quota(52)) == (1, 51, 0)
    policy.update("library_two")
    assert library.call_policy(50) == 2
    assert library.query_policy() == ctypes.cast(library.library_two, ctypes.c_void_p).value
    agree(policy)
    policy.update(None)
    assert (library.call_policy(50), library.query_policy()) == (50, 0)
    agree(policy)
    policy.update(RET0)
    assert library.call_policy(50) == 0
    agree(policy)


def test_update_to_code_that_is_far(library: Any) -> None:
    """A function that a branch does not reach is called through the library's literal."""
    host: Any = static_call.host()
    policy = listed(library.path)["policy"]
    far = host.function("bti c\nadd x0, x0, #1\nret", near=policy.address - (1 << 30))
    policy.update(far)
    assert (library.call_policy(50), policy.form) == (51, "far")
    assert library.query_policy() == far.address
    agree(policy)


def test_text_stays_as_it_is_mapped(library: Any) -> None:
    """Text and the literals' pages stay read-only, and the file's."""
    others = writable_code()
    policy = listed(library.path)["policy"]
    (literal,) = policy.trampoline.outside.values()
    before = [mapping(policy.address), mapping(literal)]
    assert before == [("r-xp", str(library.path)), ("r--p", str(library.path))]
    policy.update("library_two")
    assert [mapping(policy.address), mapping(literal)] == before
    assert writable_code() == others
    assert library.call_policy(1) == 2


def test_concurrent_updates_from_c_and_python(library: Any) -> None:
    """static_call.c and this process's place take the same lock: in the end all agree."""
    policy = listed(library.path)["policy"]
    host: Any = static_call.host()
    far = host.function("bti c\nmov x0, #3\nret", near=policy.address - (1 << 30))
    for _ in range(3):
        assert library.start_updater() == 0
        try:
            for target in (far, "library_two", None, RET0, "library_one") * 4:
                policy.update(target)
                assert library.call_policy(50) in (0, 1, 2, 3, 50)
        finally:
            assert library.stop_updater() == 0
        agree(policy)
        target = ctypes.cast(library.library_one, ctypes.c_void_p).value
        assert (library.query_policy() == target) == (library.call_policy(50) == 1)


def test_bad_target(library: Any) -> None:
    """What cannot be called is refused, and the library is as it was."""
    policy = listed(library.path)["policy"]
    for target in (policy.key, policy.address, "no_such_function", 2):
        with pytest.raises(StaticCallError, match=r"policy|no_such_function"):
            policy.update(target)
    assert library.call_policy(1) == 1
    agree(policy)
    with pytest.raises(StaticCallError, match="cannot be closed"):
        policy.close()
    with pytest.raises(StaticCallError, match="no static call nothing"):
        listed(library.path)["nothing"]

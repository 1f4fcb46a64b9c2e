"""The one sanitiser: names from a model become identifiers that are safe in C, C++ and Tcl.

Nothing a model file spells reaches generated code on another road.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

MAX_LENGTH = 31
"""Significant initial characters of an external identifier that C99 (5.2.4.1) guarantees."""

_C = """auto break case char const continue default do double else enum extern float for goto if inline int long
register restrict return short signed sizeof static struct switch typedef union unsigned void volatile while
alignas alignof bool complex imaginary nullptr constexpr typeof typeof_unqual static_assert thread_local true false
noreturn generic atomic asm fortran"""
_CPP = """and and_eq asm auto bitand bitor bool catch char8_t char16_t char32_t class compl concept const consteval
constinit constexpr const_cast co_await co_return co_yield decltype delete dynamic_cast explicit export false friend
mutable namespace new noexcept not not_eq nullptr operator or or_eq private protected public reinterpret_cast requires
static_assert static_cast template this thread_local throw true try typeid typename using virtual wchar_t xor xor_eq
final override import module transaction_safe"""
_STANDARD = """main abs div exit abort assert malloc calloc realloc free memcpy memmove memset memcmp strlen printf
sin cos tan exp log pow sqrt floor ceil round fmin fmax y0 y1 yn j0 j1 jn gamma signal time clock errno stdin stdout
stderr offsetof std ap_int ap_uint ap_fixed ap_ufixed hls nnet linux unix i386 arm"""
_TCL = """
after append apply array bgerror binary break catch cd chan clock close concat continue coroutine dict encoding
env eof error eval exec exit expr fblocked fconfigure fcopy file fileevent flush for foreach format gets glob global
history if incr info interp join lappend lassign lindex linsert list llength lmap load lrange lrepeat lreplace lreverse
lsearch lset lsort namespace open package pid proc puts pwd read refchan regexp registry regsub rename return scan seek
set socket source split string subst switch tailcall tcl_version tell throw time trace try unknown unload unset update
uplevel upvar variable vwait while yield yieldto zlib"""

RESERVED: frozenset[str] = frozenset(f"{_C} {_CPP} {_STANDARD} {_TCL}".split())
"""Keywords of C (to C23), C++ (to C++20) and Tcl, and standard names a definition may collide with."""


def c_identifier(name: str, taken: Iterable[str] = (), *, max_length: int = MAX_LENGTH) -> str:
    """An identifier made from `name`, safe in C, C++ and Tcl and different from all of `taken`.

    The result matches `[a-z][a-z0-9_]*` (lower case, so it is no macro of a standard header), has no two underscores
    in a row and none at the end, is at most `max_length` characters long, is no keyword, and differs from every name
    in `taken` even if case is ignored, as some file systems do.

    Args:
        name: any text.
        taken: identifiers already used.
        max_length: longest result, at least 8.

    Returns:
        The identifier; the caller adds it to `taken`.
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    stem = re.sub(r"[^a-z0-9]+", "_", plain.lower()).strip("_")
    if not stem or not stem[0].isalpha():
        stem = f"x{stem}" if stem else "unnamed"
    used = {other.lower() for other in taken}
    candidate, count = _cut(stem, max_length, ""), 1
    while candidate in used or candidate in RESERVED:
        count += 1
        candidate = _cut(stem, max_length, f"_{count}")
    return candidate


def _cut(stem: str, max_length: int, suffix: str) -> str:
    return stem[: max_length - len(suffix)].rstrip("_") + suffix

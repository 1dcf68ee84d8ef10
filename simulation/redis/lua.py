"""
The one interpreter of Lua in this process, and values on their way into it and out of it.

Scripts of all data sets run in it, one at a time.  What a script may use is read-only, so that it
leaves nothing behind.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Final

import lupa.lua51

from simulation.redis.packing import LibraryError, pack_values, unpack_characters, unpack_values
from simulation.redis.values import ErrorReply, Reply, Status

LuaError: Final = lupa.lua51.LuaError
_LUA: Final = lupa.lua51.LuaRuntime(
    encoding=None, register_eval=False, register_builtins=False, unpack_returned_tuples=True
)

_LUA.execute("collectgarbage('setpause', 1000)")  # scripts leave little behind

#: Compiles a script; returns it, or the error.
_COMPILE: Final = _LUA.eval(
    """
function(text, environment)
  local script, problem = loadstring(text, '@user_script')
  return script and setfenv(script, environment) or problem
end
"""
)
_RUN: Final = _LUA.eval(
    """
function(script, environment, keys, arguments)
  rawset(environment, 'KEYS', keys)
  rawset(environment, 'ARGV', arguments)
  local reply = script()
  return reply
end
"""
)
#: Returns the error and the status in a table, then its elements before the first nil.
_SPREAD: Final = _LUA.eval(
    """
function(table, first)
  local count = first
  while count < first + 1000 and table[count] ~= nil do count = count + 1 end
  return type(table.err) == 'string' and table.err, type(table.ok) == 'string' and table.ok,
    unpack(table, first, count - 1)
end
"""
)
#: Returns the line in the script that has called Python.
_LINE: Final = _LUA.eval(
    """
function()
  for level = 2, 20 do
    local found = debug.getinfo(level, 'Sl')
    if found and found.source == '@user_script' then return found.currentline end
  end
  return 0
end
"""
)
_ENVIRONMENT: Final = _LUA.eval(
    """
function(given, is_strict)
  local function refuse() error('Attempt to modify a readonly table', 2) end
  local function lock(content)
    return setmetatable({}, {__index = content, __newindex = refuse, __metatable = false})
  end
  local function error_reply(text)
    if is_strict and string.sub(text, 1, 1) == '-' then text = string.sub(text, 2) end
    if is_strict and not string.find(text, ' ', 1, true) then text = 'ERR ' .. text end
    return {err = text}
  end
  local redis = {
    call = given.call, pcall = given.pcall, sha1hex = given.sha1hex, acl_check_cmd = given.acl_check_cmd or nil,
    error_reply = error_reply, status_reply = function(text) return {ok = text} end, log = function() end,
  }
  local content = {
    redis = lock(redis), string = lock(string), table = lock(table),
    math = lock({ceil = math.ceil, floor = math.floor, max = math.max, min = math.min, abs = math.abs}),
    cmsgpack = lock({pack = given.msgpack, unpack = given.msgunpack}), struct = lock({unpack = given.unpack}),
    pairs = pairs, ipairs = ipairs, next = next, select = select, type = type, tonumber = tonumber,
    tostring = tostring, unpack = unpack, error = error, assert = assert,
  }
  return setmetatable(content, {
    __index = function(_, name)
      error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 2)
    end,
    __newindex = refuse, __metatable = false,
  })
end
"""
)

#: The most elements that L{table_from} passes as arguments of a call.
_MOST: Final = 200
_PACK: Final = _LUA.eval("function(...) return {...} end")
run: Final = _RUN
line: Final = _LINE


def table_from(values: Sequence[Any] | Mapping[bytes, Any]) -> Any:
    """Return a table with elements, or with keys and values."""
    if type(values) is dict or len(values) > _MOST:
        return _LUA.table_from(values)
    return _PACK(*values)


class ScriptError(Exception):
    """Ends a script with an error of C{redis.call}, or of a library."""

    def __init__(self, text: bytes, line: int) -> None:
        super().__init__(text, line)
        self.text, self.line = text, line


def make_environment(given: Mapping[bytes, Callable[..., Any] | bool], is_strict: bool) -> Any:
    """
    Return what a script may use.

    @param given: C{call}, C{pcall} and C{acl_check_cmd}.
    @param is_strict: whether C{error_reply} makes an error of any text.
    """
    libraries: dict[bytes, Callable[..., Any]] = {
        b"sha1hex": _sha1hex,
        b"unpack": unpack_characters,
        b"msgpack": lambda *values: pack_values(values, read_table),
        b"msgunpack": lambda text: unpack_values(text, table_from),
    }
    guarded = {name: _guard(library, b"ERR " if is_strict else b"") for name, library in libraries.items()}
    return _ENVIRONMENT(_LUA.table_from({**guarded, **given}), is_strict)


def _guard(library: Callable[..., Any], code: bytes) -> Callable[..., Any]:
    """Return a function of a library whose errors end the script."""

    def call(*words: Any) -> Any:
        try:
            return library(*words)
        except LibraryError as error:
            place = line()
            raise ScriptError(b"%suser_script:%d: %s" % (code, place, error.args[0]), place) from None

    return call


@cache
def compile_script(text: bytes, environment: Any) -> Any:
    """
    Return a script as a function.

    @raise LuaError: it is none.
    """
    found = _COMPILE(text, environment)
    if isinstance(found, bytes):
        raise LuaError(found)
    return found


def to_lua(reply: Reply) -> Any:
    """Return a reply as a script sees it."""
    kind = type(reply)
    if kind is bytes or kind is int:
        return reply
    if reply is None:
        return False
    if kind is list:
        return table_from([to_lua(each) for each in reply])
    return table_from({b"ok" if kind is Status else b"err": bytes(reply)})


def to_reply(value: Any) -> Reply:
    """Return what a script returned as a reply."""
    kind = type(value)
    if kind is bytes or kind is int:
        return value
    if kind is bool:
        return 1 if value else None
    if kind is float:
        return int(value) if abs(value) < 1 << 63 else -(1 << 63)
    if value is None or lupa.lua51.lua_type(value) != "table":
        return None
    error, status, *elements = _SPREAD(value, 1)
    if error:
        return ErrorReply(error)
    if status:
        return Status(status)
    if len(elements) == 1000:
        elements = read_table(value)
    return [to_reply(each) for each in elements]


def read_table(table: Any) -> list[Any]:
    """Return the elements of a table before the first nil."""
    found: list[Any] = []
    while True:
        some = _SPREAD(table, len(found) + 1)[2:]
        found += some
        if len(some) < 1000:
            return found


def _sha1hex(*words: bytes) -> bytes:
    if len(words) != 1:
        raise LibraryError(b"wrong number of arguments")
    return hashlib.sha1(words[0], usedforsecurity=False).hexdigest().encode()

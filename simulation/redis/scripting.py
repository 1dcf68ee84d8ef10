"""
Runs scripts: C{EVAL}, C{EVALSHA} and C{SCRIPT}.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, Final

from simulation.redis import lua
from simulation.redis.checks import OOM, is_out_of_memory, no_permission_in_script, refused_right, refused_write
from simulation.redis.data import Data
from simulation.redis.numbers import read_integer
from simulation.redis.script_words import FORBIDDEN, WORDS, write_number
from simulation.redis.table import COMMANDS, Spec, find, run
from simulation.redis.values import OK, Command, CommandError, ErrorReply, Reply, Version

_POSITION: Final = re.compile(rb"(?:\[string \"[^\"]*\"\]|user_script):(\d+): ")
_NUMBER: Final = re.compile(rb"\s*\+?[0-9]+")


class Interpreter:
    """
    What scripts see of a make of server, for all data sets of this process.

    @ivar data: the data set of the running script.
    @ivar is_dirty: whether the script has run a command that writes: then it may write without memory.
    """

    def __init__(self, version: Version) -> None:
        self._version = version
        self._words = WORDS[version]
        self._data = Data()
        self._is_dirty = False
        given = {b"call": self._call, b"pcall": self._pcall, b"acl_check_cmd": not version.is_old and self._check_right}
        self._environment = lua.make_environment(given, not version.is_old)

    def compile(self, text: bytes) -> Any:
        """
        Return a script as a function.

        @raise CommandError: it is none.
        """
        try:
            return lua.compile_script(text, self._environment)
        except lua.LuaError as error:
            problem = error.args[0]
            text = problem if isinstance(problem, bytes) else str(problem).encode()
            raise CommandError(b"ERR Error compiling script (new function): " + text) from error

    def run(self, data: Data, text: bytes, keys: Command, arguments: Command) -> Reply:
        """Run a script, and return what it returns."""
        script = self.compile(text)
        self._data, self._is_dirty = data, False
        data.is_in_script = True
        try:
            found = lua.run(script, self._environment, lua.table_from(keys), lua.table_from(arguments))
            reply = lua.to_reply(found)
        except lua.ScriptError as error:
            raise CommandError(self._explain(text, error.text, error.line)) from None
        except lua.LuaError as error:
            raise CommandError(self._explain_lua(text, error)) from error
        finally:
            data.is_in_script = False
        if type(reply) is ErrorReply:
            return ErrorReply(reply.replace(b"\r", b" ").replace(b"\n", b" "))
        return reply

    def _explain_lua(self, text: bytes, error: Exception) -> bytes:
        problem = error.args[0]
        said: bytes = problem if isinstance(problem, bytes) else str(problem).encode()
        said = said.partition(b"\nstack traceback")[0]
        place = _POSITION.match(said)
        return self._explain(text, said if self._version.is_old else b"ERR " + said, int(place[1]) if place else 0)

    def _explain(self, text: bytes, problem: bytes, line: int) -> bytes:
        """Return the error of a script in the words of the version."""
        digest = digest_of(text)
        if self._version is Version.REDIS_6_2:
            return b"ERR Error running script (call to f_%s): @user_script:%d: %s" % (digest, line, problem)
        if self._version is Version.REDIS_7_0:
            return b"%s script: %s, on @user_script:%d." % (problem, digest, line)
        return b"%s script: on @user_script:%d." % (problem, line)

    def _call(self, *words: Any) -> Any:
        """C{redis.call}."""
        reply = self._run(words)
        kind = type(reply)
        if kind is bytes or kind is int:
            return reply
        if kind is ErrorReply:
            raise lua.ScriptError(bytes(reply), lua.line())
        return lua.to_lua(reply)

    def _pcall(self, *words: Any) -> Any:
        """C{redis.pcall}."""
        return lua.to_lua(self._run(words))

    def _run(self, given: tuple[Any, ...]) -> Reply:
        data = self._data
        try:
            words = self._read(given)
            spec = self._find(words)
            if not data.conditions.is_plain:
                self._check(spec, words)
            if spec.is_write:
                self._is_dirty = True
                return run(data, spec, words)
            return spec.run(data, words)
        except CommandError as error:
            return ErrorReply(error.text)

    def _read(self, given: tuple[Any, ...]) -> Command:
        for word in given:
            if type(word) is not bytes:
                break
        else:
            if given:
                return given
        words: list[bytes] = []
        for word in given:
            kind = type(word)
            if kind is bytes:
                words.append(word)
            elif kind is int and abs(word) < 10**17:
                words.append(b"%d" % word)
            elif kind is float or kind is int:
                words.append(write_number(word, self._version))
            else:
                raise CommandError(self._refuse(self._words["arguments"]))
        if not words:
            raise CommandError(self._refuse(self._words["none"]))
        return words

    def _find(self, words: Command) -> Spec:
        spec = COMMANDS.get(words[0])
        if spec is not None and spec.least <= len(words) <= spec.most:
            return spec
        name = words[0].lower()
        if name in FORBIDDEN:
            raise CommandError(self._refuse(self._words["forbidden"]))
        try:
            return find(COMMANDS, words, self._version)
        except CommandError as error:
            if error.text.startswith(b"ERR wrong number"):
                raise CommandError(self._refuse(self._words["number"])) from None
            if error.text.startswith((b"ERR unknown command", b"ERR unknown subcommand")):
                if self._version is Version.VALKEY_9_1 and b"subcommand" in error.text:
                    raise
                raise CommandError(self._refuse(self._words["unknown"])) from None
            raise

    def _refuse(self, text: bytes) -> bytes:
        """Return the error of a command that was not run."""
        return b"@user_script: %d: %s" % (lua.line(), text) if self._version.is_old else text

    def _check(self, spec: Spec, words: Command) -> None:
        data = self._data
        conditions = data.conditions
        if lacking := refused_right(data, spec, words):
            raise CommandError(
                self._refuse(no_permission_in_script(self._version, spec, lacking, conditions.user.name))
            )
        dash = b"-" if self._version.is_old else b""
        if spec.is_write and not self._is_dirty and (problem := refused_write(data)):
            raise CommandError(self._refuse(dash + problem))
        if not self._is_dirty and is_out_of_memory(data, spec):
            raise CommandError(self._refuse(dash + OOM))

    def _check_right(self, *given: Any) -> bool:
        """C{redis.acl_check_cmd}."""
        data = self._data
        try:
            words = self._read(given)
        except CommandError as error:
            raise lua.ScriptError(error.text, lua.line()) from None
        if data.conditions.is_plain and words[0] in COMMANDS:
            return True
        try:
            spec = find(COMMANDS, words, self._version)
        except CommandError as error:
            if error.text.startswith(b"ERR wrong number"):
                spec = COMMANDS[words[0].lower()]
            else:
                raise lua.ScriptError(
                    b"ERR Invalid command passed to %s()" % self._words["check"], lua.line()
                ) from None
        return not refused_right(data, spec, words)


def digest_of(text: bytes) -> bytes:
    """Return the name of a script."""
    return hashlib.sha1(text, usedforsecurity=False).hexdigest().encode()


_interpreters: dict[Version, Interpreter] = {}


def interpreter(version: Version) -> Interpreter:
    """Return the interpreter of a version; there is one in this process."""
    if version not in _interpreters:
        _interpreters[version] = Interpreter(version)
    return _interpreters[version]


def keys_of(words: Command) -> Command:
    """Return the keys of EVAL and EVALSHA; none if their number, which may be followed by anything, is too large."""
    number = _NUMBER.match(words[2])
    count = int(number[0]) if number else 0
    return words[3 : 3 + count] if count <= len(words) - 3 else ()


def eval_(data: Data, words: Command) -> Reply:
    """C{EVAL}."""
    _count_keys(words)
    load(data, [b"SCRIPT", b"LOAD", words[1]])
    return _run_with(data, words[1], words)


def evalsha(data: Data, words: Command) -> Reply:
    """C{EVALSHA}."""
    _count_keys(words)
    text = data.scripts.get(words[1]) or data.scripts.get(words[1].lower())
    if text is None:
        more = b"" if data.version is Version.VALKEY_9_1 else b" Please use EVAL."
        raise CommandError(b"NOSCRIPT No matching script." + more)
    return _run_with(data, text, words)


def _count_keys(words: Command) -> int:
    count = read_integer(words[2])
    if count > len(words) - 3:
        raise CommandError(b"ERR Number of keys can't be greater than number of args")
    if count < 0:
        raise CommandError(b"ERR Number of keys can't be negative")
    return count


def _run_with(data: Data, text: bytes, words: Command) -> Reply:
    end = 3 + int(words[2])
    return interpreter(data.version).run(data, text, words[3:end], words[end:])


def load(data: Data, words: Command) -> Reply:
    """C{SCRIPT LOAD}."""
    digest = digest_of(words[2])
    if digest not in data.scripts:
        interpreter(data.version).compile(words[2])
        data.scripts[digest] = words[2]
    return digest


def exists(data: Data, words: Command) -> Reply:
    """C{SCRIPT EXISTS}."""
    return [int(word.lower() in data.scripts) for word in words[2:]]


def flush(data: Data, words: Command) -> Reply:
    """C{SCRIPT FLUSH}."""
    data.scripts.clear()
    return OK

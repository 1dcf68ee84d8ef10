"""
One data set of Redis, which runs commands.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import attrs

from simulation.redis import scripting
from simulation.redis.checks import check
from simulation.redis.data import Data, copy_value
from simulation.redis.table import COMMANDS, SPECS, Spec, find, index, run
from simulation.redis.values import PLAIN, Command, CommandError, Conditions, ErrorReply, Reply

_ALL: Final = index(
    [
        *SPECS,
        Spec(b"eval", scripting.eval_, -3, scripting.keys_of),
        Spec(b"evalsha", scripting.evalsha, -3, scripting.keys_of),
        Spec(b"script|load", scripting.load, 3, lambda words: ()),
        Spec(b"script|exists", scripting.exists, -3, lambda words: ()),
        Spec(b"script|flush", scripting.flush, -2, lambda words: ()),
    ]
)


@attrs.define(eq=False)
class Keyspace(Data):
    """
    One data set: the same commands at the same times lead to the same state.

    A replica is a L{copy} to which the L{effects} of each command are applied, in order.
    """

    def execute(self, command: Command, now: int, conditions: Conditions = PLAIN) -> Reply:
        """
        Run a command of a client, and return its reply.

        It never waits: an XREADGROUP with BLOCK that finds nothing returns C{None}.
        L{effects} is what it did, as commands for replicas: empty if it changed nothing.

        @param now: milliseconds of the wall clock.
        """
        self.now, self.conditions, self.effects = now, conditions, []
        try:
            spec = find(_ALL, command, self.version)
            if not conditions.is_plain:
                check(self, spec, command)
            return run(self, spec, command)
        except CommandError as error:
            return ErrorReply(error.text)

    def apply(self, effects: Iterable[Command], now: int) -> None:
        """
        Do what a command did on the primary, at the time of the primary.

        @param effects: L{effects} of that command.
        """
        self.now, self.conditions, self.effects, self.is_applying = now, PLAIN, [], True
        try:
            for command in effects:
                run(self, find(COMMANDS, command, self.version), command)
        finally:
            self.is_applying = False

    def copy(self) -> Keyspace:
        """Return the same keys and values, independent of this one; scripts are not copied."""
        values = {key: copy_value(value) for key, value in self.values.items()}
        return Keyspace(self.version, values, self.expiry.copy())

"""
Builds the roles of C{twistd -n eventsvc ROLE}; each module lists the parts of one role.
"""

from __future__ import annotations

from twisted.application.service import IService
from twisted.python.usage import UsageError

from eventsvc.tap import consumer, dashboard, dev, producer, simulator
from eventsvc.tap.options import RoleOptions

_ROLES = {"producer": producer, "consumer": consumer, "simulator": simulator, "dashboard": dashboard, "dev": dev}


class Options(RoleOptions):
    """C{twistd eventsvc}: the role is a subcommand."""

    synopsis = "ROLE [options]"
    hint = f"the roles are {', '.join(_ROLES)}"
    longdesc = "Try `twistd eventsvc ROLE --help` for the settings of a role."
    subCommands = [(name, None, role.Options, (role.__doc__ or "").strip()) for name, role in _ROLES.items()]

    def getSynopsis(self) -> str:
        """Return the synopsis; once the role is given, its own options follow."""
        words = super().getSynopsis()
        return words.removesuffix(f" {self.synopsis}") if self.subCommand else words

    def postOptions(self) -> None:
        if self.subCommand is None:
            raise UsageError("No role is named")


def makeService(options: Options) -> IService:
    """Return the service of the given role."""
    assert options.subCommand is not None
    service: IService = _ROLES[options.subCommand].makeService(options.subOptions)
    return service

"""
The roles, each as a parts list: C{twistd -n eventsvc ROLE}.
"""

from __future__ import annotations

from twisted.application.service import IService
from twisted.python.usage import UsageError

from eventsvc.tap import consumer, dev, producer, simulator
from eventsvc.tap.options import RoleOptions

_ROLES = {"producer": producer, "consumer": consumer, "simulator": simulator, "dev": dev}


class Options(RoleOptions):
    """C{twistd eventsvc}: the role is a subcommand."""

    synopsis = "ROLE [options]"
    hint = f"the roles are {', '.join(_ROLES)}"
    longdesc = "Try `twistd eventsvc ROLE --help` for the settings of a role."
    subCommands = [(name, None, role.Options, (role.__doc__ or "").strip()) for name, role in _ROLES.items()]

    def getSynopsis(self) -> str:
        """Once the role is named, it says itself how to go on."""
        words = super().getSynopsis()
        return words.removesuffix(f" {self.synopsis}") if self.subCommand else words

    def postOptions(self) -> None:
        if self.subCommand is None:
            raise UsageError("No role is named")


def makeService(options: Options) -> IService:
    """Make the service of the role that was named."""
    assert options.subCommand is not None
    service: IService = _ROLES[options.subCommand].makeService(options.subOptions)
    return service

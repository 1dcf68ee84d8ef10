"""
The roles, each as a parts list: C{twistd -n eventsvc ROLE}.
"""

from __future__ import annotations

from twisted.application.service import IService

from eventsvc.tap import consumer, dev, producer, simulator
from eventsvc.tap.options import RoleOptions

_ROLES = {"producer": producer, "consumer": consumer, "simulator": simulator, "dev": dev}


class Options(RoleOptions):
    """C{twistd eventsvc}: the role is a subcommand."""

    synopsis = "Usage: twistd [options] eventsvc ROLE [options]"
    subCommands = [(name, None, role.Options, (role.__doc__ or "").strip()) for name, role in _ROLES.items()]

    def postOptions(self) -> None:
        if self.subCommand is None:
            self.fail(f"name a role: {', '.join(_ROLES)}")


def makeService(options: Options) -> IService:
    """Make the service of the role that was named."""
    assert options.subCommand is not None
    service: IService = _ROLES[options.subCommand].makeService(options.subOptions)
    return service

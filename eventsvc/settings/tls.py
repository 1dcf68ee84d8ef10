"""
The settings of TLS on the producer's port.
"""

from __future__ import annotations

import attrs

from eventsvc.settings.kinds import TEXT
from eventsvc.settings.reading import InvalidSettings, rows, setting


@attrs.frozen(kw_only=True)
class TLSSettings:
    """The files that make the producer's port speak TLS."""

    certificate: str = setting(
        "REST_SERVER_TLS_CERT",
        TEXT,
        "",
        "PEM file of the certificate, followed by those of its issuers. The port then speaks TLS only.",
    )
    key: str = setting("REST_SERVER_TLS_KEY", TEXT, "", "PEM file of the private key of that certificate.")
    client_authorities: str = setting(
        "REST_SERVER_TLS_CLIENT_CA",
        TEXT,
        "",
        "PEM file of CA certificates: clients must present a certificate that one of them issued.",
    )

    def check(self) -> None:
        """
        Check that neither the certificate nor the key is missing.

        @raise InvalidSettings: the text names what is.
        """
        given = [name for name, path in self._all() if path]
        missing = [name for name, path in self._all()[:2] if not path]
        if given and missing:
            raise InvalidSettings(f"{' and '.join(missing)}: expected a file, because {given[0]} is set")

    def files(self) -> list[tuple[str, str]]:
        """Return the name and path of each file that is given: certificate, key, client authorities."""
        return [(name, path) for name, path in self._all() if path]

    def _all(self) -> list[tuple[str, str]]:
        return [(row.name, getattr(self, field)) for field, row in rows(type(self))]

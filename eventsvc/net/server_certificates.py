"""
The certificate, key and client authorities of a TLS port, which are read again when their files change.
"""

from __future__ import annotations

from typing import Any, Final

import attrs
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import Certificate
from OpenSSL.crypto import X509StoreFlags
from OpenSSL.SSL import OP_NO_RENEGOTIATION, Connection, Context
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.ssl import CertificateOptions, TLSVersion
from twisted.logger import Logger
from zope.interface import implementer

from eventsvc.net.pem import parse_certificates, read_pem, trust_root
from eventsvc.settings.reading import InvalidSettings
from eventsvc.settings.tls import TLSSettings

#: The variable that a problem with the whole is reported under.
CERT: Final = "REST_SERVER_TLS_CERT"

#: The content of each file, or why it cannot be read.
_Contents = tuple[bytes | str, ...]


@implementer(IOpenSSLServerConnectionCreator)
@attrs.define(eq=False, repr=False)
class ServerCertificates:
    """
    Makes the TLS state of new connections from files.

    # Note [Half-written files]

    Two files cannot be replaced at once, and a file can be read while it is
    written.  A certificate chain that is cut off between two certificates is valid::

        operator: writes CERT             writes KEY
        us:                   read both                read both
                              (they do not match)      (they match)

    So changed files are used only if two reads in a row find the same.  Old
    connections keep the state they were made with.  A new context has new
    ticket keys, so no session outlives a change of the authorities.

    @ivar failures: how often changed files were not valid.
    @ivar expires: when the certificate expires, in seconds since 1970.
    """

    settings: TLSSettings
    failures: int = attrs.field(default=0, init=False)
    expires: float = attrs.field(default=0.0, init=False)
    _context: Context = attrs.field(init=False)
    _seen: _Contents = attrs.field(init=False)
    _tried: _Contents = attrs.field(init=False)
    _log = Logger()

    def __attrs_post_init__(self) -> None:
        """
        Read the files.

        @raise InvalidSettings: the text names the variable and the file that is not valid.
        """
        self._seen = self._tried = self._read()
        self._use(self._tried)

    def serverConnectionForTLS(self, protocol: Any) -> Connection:
        """Return the TLS state of a new connection."""
        return Connection(self._context, None)

    def check(self) -> None:
        """Use the files if they have changed; call it every second or so."""
        found = self._read()
        if found != self._seen:
            self._seen = found  # perhaps it is still being written
        elif found != self._tried:
            self._tried = found
            try:
                self._use(found)
            except InvalidSettings as problem:
                self.failures += 1
                self._log.error("the TLS files have changed, but the old ones stay in use: {problem}", problem=problem)
            else:
                self._log.info("the TLS files have changed; new connections use them")

    def _read(self) -> _Contents:
        return tuple([_content(name, path) for name, path in self.settings.files()])

    def _use(self, contents: _Contents) -> None:
        """Make the context of new connections from the contents of the files."""
        files = []
        for (name, path), content in zip(self.settings.files(), contents, strict=True):
            if isinstance(content, str):
                raise InvalidSettings(content)
            files.append((name, path, content))
        cert, key, *authorities = files
        chain = parse_certificates(*cert)
        make: Any = CertificateOptions  # its types are older than pyOpenSSL's
        try:
            context = make(
                privateKey=_parse_key(*key, chain[0], cert[1]),
                certificate=chain[0],
                extraCertChain=chain[1:],
                trustRoot=trust_root(parse_certificates(*authorities[0])) if authorities else None,
                raiseMinimumTo=TLSVersion.TLSv1_2,
                enableSessionTickets=True,  # unlike sessions, they take no memory here
            ).getContext()
        except InvalidSettings:
            raise
        except Exception as problem:  # such as a key that is too short for OpenSSL
            raise InvalidSettings(f"{CERT}={cert[1]!r}: expected a usable certificate ({problem})") from None
        context.set_options(OP_NO_RENEGOTIATION)
        context.get_cert_store().set_flags(X509StoreFlags.PARTIAL_CHAIN)  # an authority need not be a root
        self._context = context
        self.expires = chain[0].not_valid_after_utc.timestamp()


def _content(name: str, path: str) -> bytes | str:
    try:
        return read_pem(name, path)
    except InvalidSettings as problem:
        return str(problem)


def _parse_key(name: str, path: str, content: bytes, certificate: Certificate, cert_path: str) -> Any:
    """
    Return the private key of a certificate.

    @raise InvalidSettings: it is not one, is encrypted, or does not match the certificate.
    """
    try:
        key = load_pem_private_key(content, None)
    except Exception as problem:  # TypeError if it is encrypted; ValueError and others
        why = "it is encrypted" if isinstance(problem, TypeError) else "it contains none"
        raise InvalidSettings(f"{name}={path!r}: expected a PEM private key without a password ({why})") from None
    if key.public_key() != certificate.public_key():
        raise InvalidSettings(f"{name}={path!r}: expected the key of the first certificate in {CERT}={cert_path!r}")
    return key

"""
Creates certificates that live as long as a test.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from OpenSSL import SSL
from twisted.internet.ssl import ContextFactory


@attrs.frozen
class Identity(ContextFactory):
    """A certificate and its key."""

    certificate: x509.Certificate
    key: EllipticCurvePrivateKey

    def getContext(self) -> SSL.Context:
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.use_certificate(self.certificate)
        context.use_privatekey(self.key)
        return context

    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    def key_pem(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@attrs.frozen
class Authority:
    """
    A certificate authority.

    @ivar name: a name that no other authority has.
    """

    name: str = attrs.field(factory=lambda: f"authority {uuid4()}")
    key: EllipticCurvePrivateKey = attrs.field(factory=lambda: generate_private_key(SECP256R1()))

    def pem(self) -> bytes:
        """Return the certificate of the authority."""
        return self._sign(self.name, self.key).public_bytes(Encoding.PEM)

    def issue(self, host: str) -> Identity:
        """Return an identity for a host."""
        key = generate_private_key(SECP256R1())
        return Identity(self._sign(host, key), key)

    def delegate(self) -> tuple[Authority, bytes]:
        """Return an intermediate authority, and its certificate from this one."""
        authority = Authority()
        return authority, self._sign(authority.name, authority.key, is_authority=True).public_bytes(Encoding.PEM)

    def _sign(self, name: str, key: EllipticCurvePrivateKey, is_authority: bool = False) -> x509.Certificate:
        def called(name: str) -> x509.Name:
            return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])

        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(called(name))
            .issuer_name(called(self.name))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=is_authority or key is self.key, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .sign(self.key, hashes.SHA256())
        )

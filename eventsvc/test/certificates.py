"""
Certificates that last as long as a test.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.internet.ssl import PrivateCertificate


def _write_key(key: EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@attrs.frozen
class Authority:
    """Signs certificates, and is trusted by those who know its own."""

    key: EllipticCurvePrivateKey = attrs.field(factory=lambda: generate_private_key(SECP256R1()))

    def pem(self) -> bytes:
        """The certificate of the authority."""
        return self._sign("authority", self.key).public_bytes(Encoding.PEM)

    def issue(self, host: str) -> PrivateCertificate:
        """A certificate for a host, and its key."""
        key = generate_private_key(SECP256R1())
        pem = self._sign(host, key).public_bytes(Encoding.PEM)
        made: PrivateCertificate = PrivateCertificate.loadPEM(pem + _write_key(key))
        return made

    def _sign(self, name: str, key: EllipticCurvePrivateKey) -> x509.Certificate:
        def called(name: str) -> x509.Name:
            return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])

        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(called(name))
            .issuer_name(called("authority"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=key is self.key, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .sign(self.key, hashes.SHA256())
        )

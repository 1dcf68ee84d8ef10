"""
Reads PEM files of certificates.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from cryptography.x509 import Certificate, load_pem_x509_certificates
from OpenSSL.crypto import X509
from twisted.internet import ssl
from twisted.internet.ssl import trustRootFromCertificates

from eventsvc.settings.reading import InvalidSettings

#: Most bytes of a file that are read.
_MOST: Final = 4_194_304


def read_pem(name: str, path: str) -> bytes:
    """
    Return the content of a file.

    @param name: the setting that names the file.
    @raise InvalidSettings: it cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            return file.read(_MOST)
    except (OSError, ValueError) as problem:  # ValueError: the path contains NUL
        why = problem.strerror if isinstance(problem, OSError) else problem
        raise InvalidSettings(f"{name}={path!r}: expected a readable PEM file ({why})") from None


def parse_certificates(name: str, path: str, content: bytes) -> list[Certificate]:
    """
    Return the certificates in a file, at least one.

    @raise InvalidSettings: there are none, or one is invalid or incomplete.
    """
    begun = content.count(b"-----BEGIN CERTIFICATE-----")
    try:
        found = load_pem_x509_certificates(content)
    except Exception:  # cryptography has many, with unhelpful texts
        why = "one is malformed" if begun else "it contains none"
    else:
        if len(found) >= begun:
            return found
        why = "the last one is cut off"
    raise InvalidSettings(f"{name}={path!r}: expected a file of PEM certificates, but {why}")


def read_trust_root(name: str, path: str) -> Any:
    """
    Return what to trust instead of the system's certificates; C{None} for an empty path.

    @raise InvalidSettings: as L{read_pem} and L{parse_certificates}.
    """
    return trust_root(parse_certificates(name, path, read_pem(name, path))) if path else None


def trust_root(authorities: list[Certificate]) -> Any:
    """Return Twisted's form of certificates to trust."""
    return trustRootFromCertificates([ssl.Certificate(X509.from_cryptography(each)) for each in authorities])

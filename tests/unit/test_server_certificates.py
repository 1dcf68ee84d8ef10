"""
Tests for L{eventsvc.net.server_certificates}: files that are valid or not, at the
start and later, and which clients get a connection.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from OpenSSL.SSL import OP_NO_RENEGOTIATION
from twisted.logger import LogLevel, capturedLogs

from eventsvc.net.server_certificates import ServerCertificates
from eventsvc.settings.reading import InvalidSettings
from eventsvc.settings.tls import TLSSettings
from eventsvc.web.site import make_site
from tests.support.certificates import Authority, Identity
from tests.support.http import post
from tests.support.tls import TLSServed, serving_tls, trusting


@attrs.define
class Files:
    """
    The files of a port.

    @ivar directory: is made for the test.
    """

    directory: Path
    authority: Authority = attrs.field(factory=Authority)

    @property
    def settings(self) -> TLSSettings:
        ca = self.directory / "ca"
        return TLSSettings(
            certificate=str(self.directory / "cert"),
            key=str(self.directory / "key"),
            client_authorities=str(ca) if ca.exists() else "",
        )

    def write(self, name: str, content: bytes) -> None:
        (self.directory / name).write_bytes(content)

    def renew(self) -> Identity:
        """Write a new certificate and key, and return them."""
        identity = self.authority.issue("localhost")
        self.write("cert", identity.certificate_pem())
        self.write("key", identity.key_pem())
        return identity

    def load(self) -> ServerCertificates:
        return ServerCertificates(self.settings)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    made = Files(tmp_path)
    made.renew()
    return made


def presented(served: TLSServed, context: ssl.SSLContext | None = None) -> bytes:
    """Return the certificate that a new client sees."""
    seen = served.connect(context).tls.getpeercert(binary_form=True)
    assert seen is not None
    return seen


def der(identity: Identity) -> bytes:
    return identity.certificate.public_bytes(Encoding.DER)


# At the start


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"certificate": "a"}, "REST_SERVER_TLS_KEY: expected a file, because REST_SERVER_TLS_CERT is set"),
        ({"key": "a"}, "REST_SERVER_TLS_CERT: expected a file, because REST_SERVER_TLS_KEY is set"),
        (
            {"client_authorities": "a"},
            "REST_SERVER_TLS_CERT and REST_SERVER_TLS_KEY: expected a file, because REST_SERVER_TLS_CLIENT_CA is set",
        ),
        (
            {"certificate": "a", "client_authorities": "a"},
            "REST_SERVER_TLS_KEY: expected a file, because REST_SERVER_TLS_CERT is set",
        ),
    ],
)
def test_certificate_and_key_are_given_together(given: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidSettings) as problem:
        TLSSettings(**given).check()
    assert str(problem.value) == words


def test_without_files_there_is_no_tls() -> None:
    TLSSettings().check()
    assert TLSSettings().files() == []


def rsa_key(size: int) -> bytes:
    key = generate_private_key(65_537, size)
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def encrypted(files: Files) -> bytes:
    key = files.authority.issue("x").key
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("cert", lambda files: b"", "CERT='{}': expected a file of PEM certificates, but it contains none"),
        ("cert", lambda files: b"\0\xff" * 99, "CERT='{}': expected a file of PEM certificates, but it contains none"),
        (
            "cert",
            lambda files: files.authority.pem()[:-9],
            "CERT='{}': expected a file of PEM certificates, but one is malformed",
        ),
        (
            "cert",
            lambda files: files.renew().certificate_pem() + files.authority.pem()[:-9],
            "CERT='{}': expected a file of PEM certificates, but the last one is cut off",
        ),
        (
            "cert",
            lambda files: b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "CERT='{}': expected a file of PEM certificates, but one is malformed",
        ),
        ("key", lambda files: b"", "KEY='{}': expected a PEM private key without a password (it contains none)"),
        (
            "key",
            lambda files: files.authority.pem(),
            "KEY='{}': expected a PEM private key without a password (it contains none)",
        ),
        ("key", encrypted, "KEY='{}': expected a PEM private key without a password (it is encrypted)"),
        (
            "key",
            lambda files: files.authority.issue("x").key_pem(),
            "KEY='{}': expected the key of the first certificate in REST_SERVER_TLS_CERT='{cert}'",
        ),
        (
            "key",
            lambda files: rsa_key(2048),
            "KEY='{}': expected the key of the first certificate in REST_SERVER_TLS_CERT='{cert}'",
        ),
        ("ca", lambda files: b"", "CLIENT_CA='{}': expected a file of PEM certificates, but it contains none"),
        (
            "ca",
            lambda files: files.authority.pem() + b"-----BEGIN CERTIFICATE-----",
            "CLIENT_CA='{}': expected a file of PEM certificates, but the last one is cut off",
        ),
    ],
)
def test_a_file_that_is_not_valid_is_named(
    files: Files, name: str, content: Callable[[Files], bytes], words: str
) -> None:
    """With its variable, its path and what is wrong; no content is shown."""
    files.write(name, content(files))
    with pytest.raises(InvalidSettings) as problem:
        files.load()
    path = files.directory / name
    assert str(problem.value) == "REST_SERVER_TLS_" + words.format(path, cert=files.directory / "cert")


@pytest.mark.parametrize("name", ["cert", "key", "ca"])
@pytest.mark.parametrize("how", ["missing", "directory", "loop"])
def test_a_file_that_cannot_be_read_is_named(files: Files, name: str, how: str) -> None:
    files.write("ca", files.authority.pem())
    settings = files.settings
    path = files.directory / name
    path.unlink()
    if how == "directory":
        path.mkdir()
    elif how == "loop":
        path.symlink_to(path)
    with pytest.raises(InvalidSettings, match=rf"^REST_SERVER_TLS_\w+='{path}': expected a readable PEM file \(\w"):
        ServerCertificates(settings)


def test_a_path_that_cannot_be_one_is_named(files: Files) -> None:
    with pytest.raises(InvalidSettings, match=r"^REST_SERVER_TLS_KEY=.*: expected a readable PEM file"):
        ServerCertificates(attrs.evolve(files.settings, key="a\0b"))


def test_a_key_that_openssl_finds_too_weak_is_named(files: Files) -> None:
    """It is a pair, but no client would accept it."""
    key = generate_private_key(65_537, 1024)
    certificate = files.authority._sign("localhost", key)  # type: ignore[arg-type]
    files.write("cert", certificate.public_bytes(Encoding.PEM))
    files.write("key", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(InvalidSettings, match=r"^REST_SERVER_TLS_CERT=.*: expected a usable certificate"):
        files.load()


# Later


def test_changed_files_are_used_once_they_are_seen_twice(files: Files) -> None:
    """New connections get the new certificate; the old ones go on."""
    certificates = files.load()
    with serving_tls(make_site, certificates) as served, capturedLogs() as logs:
        old = served.connect()
        before = presented(served)
        identity = files.renew()
        certificates.check()
        assert presented(served) == before
        certificates.check()
        assert presented(served) == der(identity) != before
        assert certificates.expires == identity.certificate.not_valid_after_utc.timestamp()
        old.send(post())
        served.served.run()
        assert [response.status for response in old.responses()] == [200]
        certificates.check()
    assert [log["log_level"] for log in logs] == [LogLevel.info]
    assert certificates.failures == 0


@pytest.mark.parametrize("how", ["write", "rename", "symlink"])
def test_it_is_the_content_that_counts(files: Files, how: str) -> None:
    """However the files are replaced; a symbolic link as Kubernetes swaps it."""
    directory = files.directory
    if how == "symlink":
        for version in ("1", "2"):
            (directory / version).mkdir()
        data = directory / "data"
        data.symlink_to("1")
        for name in ("cert", "key"):
            (directory / name).rename(directory / "1" / name)
            (directory / name).symlink_to(f"data/{name}")
    certificates = files.load()
    identity = files.authority.issue("localhost")
    for name, content in (("cert", identity.certificate_pem()), ("key", identity.key_pem())):
        if how == "write":
            files.write(name, content)
        elif how == "rename":
            files.write("new", content)
            (directory / "new").rename(directory / name)
        else:
            (directory / "2" / name).write_bytes(content)
    if how == "symlink":
        (directory / "new").symlink_to("2")
        os.replace(directory / "new", directory / "data")
    with serving_tls(make_site, certificates) as served:
        certificates.check()
        certificates.check()
        assert presented(served) == der(identity)


def test_files_that_are_touched_change_nothing(files: Files) -> None:
    """Neither their times nor their inodes matter."""
    certificates = files.load()
    with capturedLogs() as logs:
        for name in ("cert", "key"):
            content = (files.directory / name).read_bytes()
            (files.directory / name).unlink()
            files.write(name, content)
        certificates.check()
        certificates.check()
    assert logs == []


@pytest.mark.parametrize("wrong", [b"", b"nonsense", None, "other"])
def test_a_broken_change_keeps_the_old_and_is_told_once(files: Files, wrong: bytes | str | None) -> None:
    """A key that is empty, none, gone, or of another certificate."""
    certificates = files.load()
    with serving_tls(make_site, certificates) as served, capturedLogs() as logs:
        before = presented(served)
        if wrong is None:
            (files.directory / "key").unlink()
        else:
            files.write("key", files.authority.issue("x").key_pem() if wrong == "other" else wrong)  # type: ignore[arg-type]
        for _ in range(5):
            certificates.check()
        assert presented(served) == before
        assert certificates.failures == 1
        (log,) = logs
        assert log["log_level"] == LogLevel.error
        assert "REST_SERVER_TLS_KEY=" in str(log["problem"])
        identity = files.renew()
        certificates.check()
        certificates.check()
        assert presented(served) == der(identity)
    assert certificates.failures == 1


def test_files_that_are_being_written_are_no_failure(files: Files) -> None:
    """Each look finds something else until both are there."""
    certificates = files.load()
    identity = files.authority.issue("localhost")
    with serving_tls(make_site, certificates) as served, capturedLogs() as logs:
        before = presented(served)
        for name, content in [
            ("cert", b""),
            ("cert", identity.certificate_pem()[:99]),
            ("cert", identity.certificate_pem()),
            ("key", b""),
        ]:
            files.write(name, content)
            certificates.check()
            assert presented(served) == before
        files.write("key", identity.key_pem())
        certificates.check()
        certificates.check()
        assert presented(served) == der(identity)
    assert certificates.failures == 0
    assert [log["log_level"] for log in logs] == [LogLevel.info]


# Clients


def holding(files: Files, authority: Authority, *more: bytes) -> ssl.SSLContext:
    """Return the context of a client with a certificate of an authority, and those of others above it."""
    identity = authority.issue("client")
    files.write("client", identity.key_pem() + identity.certificate_pem() + b"".join(more))
    context = trusting()
    context.load_cert_chain(files.directory / "client")
    return context


def is_served(served: TLSServed, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> bool:
    """Return whether a client with this context gets an answer."""
    client = served.open(context)
    if session is not None:
        client.tls.session = session
    try:
        client.connect()
        client.send(post())
        served.served.run()
        return [response.status for response in client.responses()] == [200]
    except ssl.SSLError:
        served.served.run()
        assert client.lost
        return False


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_only_clients_with_a_certificate_of_the_authority_are_served(files: Files, version: ssl.TLSVersion) -> None:
    ours, other = Authority(), Authority()
    files.write("ca", ours.pem())
    with serving_tls(make_site, files.load()) as served:
        for context, expected in [
            (trusting(), False),
            (holding(files, other), False),
            (holding(files, ours), True),
        ]:
            context.maximum_version = version
            assert is_served(served, context) is expected


def test_an_authority_need_not_be_a_root(files: Files) -> None:
    """What another intermediate one of the same root has issued is refused."""
    root = Authority()
    intermediate, certificate = root.delegate()
    sibling, of_sibling = root.delegate()
    files.write("ca", certificate)
    with serving_tls(make_site, files.load()) as served:
        assert is_served(served, holding(files, intermediate))
        assert not is_served(served, holding(files, sibling, of_sibling, root.pem()))


def test_the_authorities_of_clients_are_read_again_too(files: Files) -> None:
    """A session that began under the old ones is not resumed."""
    old, new = Authority(), Authority()
    files.write("ca", old.pem())
    certificates = files.load()
    with serving_tls(make_site, certificates) as served:
        context = holding(files, old)
        client = served.connect(context)
        client.send(post())
        served.served.run()
        client.receive()
        session = client.tls.session
        assert is_served(served, context, session)
        files.write("ca", new.pem())
        certificates.check()
        certificates.check()
        assert not is_served(served, context, session)
        assert not is_served(served, context)
        assert is_served(served, holding(files, new))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("asked", [False, True])
def test_a_session_is_resumed(files: Files, version: ssl.TLSVersion, asked: bool) -> None:
    """With and without certificates of clients; without a session context OpenSSL would refuse the former."""
    ours = Authority()
    if asked:
        files.write("ca", ours.pem())
    context = holding(files, ours)
    context.maximum_version = version
    with serving_tls(make_site, files.load()) as served:
        first = served.connect(context)
        first.send(post())
        served.served.run()
        assert len(first.responses()) == 1
        again = served.open(context)
        again.tls.session = first.tls.session
        again.connect().send(post())
        served.served.run()
        assert [response.status for response in again.responses()] == [200]
        assert again.tls.session_reused


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_tls_before_1_2_is_refused(files: Files) -> None:
    context = trusting()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with serving_tls(make_site, files.load()) as served, pytest.raises(ssl.SSLError):
        served.connect(context)


@pytest.mark.parametrize(
    ("offered", "chosen"), [(["h2", "http/1.1"], "http/1.1"), (["http/1.1"], "http/1.1"), ([], None)]
)
def test_http_1_is_negotiated(files: Files, offered: list[str], chosen: str | None) -> None:
    context = trusting()
    if offered:
        context.set_alpn_protocols(offered)
    with serving_tls(make_site, files.load()) as served:
        assert served.connect(context).tls.selected_alpn_protocol() == chosen


def test_a_client_that_speaks_only_http_2_is_refused(files: Files) -> None:
    context = trusting()
    context.set_alpn_protocols(["h2"])
    with serving_tls(make_site, files.load()) as served, pytest.raises(ssl.SSLError):
        served.connect(context)


def test_the_chain_is_sent(files: Files) -> None:
    """A client that knows only the root trusts the certificate."""
    root = Authority()
    intermediate, certificate = root.delegate()
    identity = intermediate.issue("localhost")
    files.write("cert", identity.certificate_pem() + certificate)
    files.write("key", identity.key_pem())
    context = ssl.create_default_context(cadata=root.pem().decode())
    with serving_tls(make_site, files.load()) as served:
        assert presented(served, context) == der(identity)


def test_nothing_is_renegotiated(files: Files) -> None:
    assert files.load()._context.set_options(0) & OP_NO_RENEGOTIATION

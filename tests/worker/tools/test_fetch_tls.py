"""fetch over TLS: the connection is made to an address, the certificate must be the name's."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from runcast_worker.tools.fetch import Fetch
from runcast_worker.tools.web import Web
from tests.worker.tools.calling import Call

NAME = "docs.test"


async def nearby(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


def certificate(folder: Path) -> tuple[Path, Path]:
    """For NAME, signed by itself: the file is both what a server shows and what a client trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[int, list[str | None]]]:
    """Its port, and the names that clients asked for by SNI. Its certificate is trusted."""
    cert, key = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    asked: list[str | None] = []
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(cert, key)
    tls.sni_callback = lambda _, name, __: asked.append(name)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nthere")
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    yield listening.sockets[0].getsockname()[1], asked
    listening.close()


async def test_the_certificate_must_be_the_names(tmp_path: Path, server: tuple[int, list[str | None]]) -> None:
    """By SNI the server learns the name although an address was asked; another name's certificate is refused."""
    port, asked = server
    right, wrong = f"{NAME}:{port}", f"other.test:{port}"
    call = Call(tmp_path, fetch_allow=(right, wrong))
    assert (await call(Fetch(Web(nearby)), url=f"https://{right}/")).endswith("there")
    failed = await call.refused(Fetch(Web(nearby)), url=f"https://{wrong}/")
    assert failed.code == "unreachable"
    assert "certificate" in failed.message.lower()
    assert asked == [NAME, "other.test"]

"""Proxies of the environment, and certificates of one's own: over real sockets, as a company's network has them."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from podium import Models, create_models
from podium.engine.proxies import Proxies
from podium.errors import Unreachable

ANSWER = json.dumps(
    {"id": "c", "model": "m", "choices": [{"index": 0, "message": {"content": "Hello."}, "finish_reason": "stop"}]}
).encode()
SIMPLE = {"strategy": "first", "models": ["house/m"], "retries": 0}


def written(status: str, body: bytes = b"") -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


class TinyProxy:
    """Answers plain requests itself, opens tunnels to nowhere with 502, and wants a password where it has one."""

    def __init__(self, password: str | None) -> None:
        self.password = password
        self.heads: list[str] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        if self.password is not None and f"Basic {self.password}" not in head:
            writer.write(written("407 Proxy Authentication Required"))
        elif head.startswith("CONNECT"):
            writer.write(written("502 Bad Gateway"))
        else:
            writer.write(written("200 OK", ANSWER))
        await writer.drain()
        writer.close()


@pytest.fixture
async def proxy() -> AsyncIterator[TinyProxy]:
    tiny = TinyProxy("bWU6cEBzcw==")  # me:p@ss
    server = await asyncio.start_server(tiny.serve, "127.0.0.1", 0)
    tiny.port = server.sockets[0].getsockname()[1]
    async with server:
        yield tiny


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


def house(base_url: str) -> Models:
    return create_models(providers={"house": {"base_url": base_url}}, tiers={"t": SIMPLE}, default_tier="t")


async def ask(base_url: str) -> str:
    async with house(base_url) as models:
        return (await models.generate_text(prompt="Hello!")).text


async def test_a_request_goes_through_the_proxy_of_the_environment_with_its_password(
    proxy: TinyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://me:p%40ss@127.0.0.1:{proxy.port}")
    assert await ask("http://llm.example.test/v1") == "Hello."
    assert proxy.heads[0].startswith("POST http://llm.example.test/v1/chat/completions HTTP/1.1")


async def test_netrc_adds_nothing_to_a_request(proxy: TinyProxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine llm.example.test login me password secret\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("all_proxy", f"me:p%40ss@127.0.0.1:{proxy.port}")
    assert await ask("http://llm.example.test/v1") == "Hello."
    assert "\r\nauthorization:" not in proxy.heads[0].lower()


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_refuses_is_named_without_its_password(
    proxy: TinyProxy, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.setenv(f"{scheme}_proxy", f"http://me:wrongword@127.0.0.1:{proxy.port}")
    with pytest.raises(Unreachable, match=rf"The proxy http://127.0.0.1:{proxy.port} refused .* 407 ") as caught:
        await ask(f"{scheme}://llm.example.test/v1")
    assert caught.value.code == "proxy_refused"
    assert "wrongword" not in str(caught.value)


async def test_a_proxy_that_does_not_run_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:  # bound, so that nobody else can listen there, and not listening
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        monkeypatch.setenv("http_proxy", f"http://me:secretword@127.0.0.1:{port}")
        words = rf"No connection to the proxy http://127.0.0.1:{port}, through which http://llm.ex"
        with pytest.raises(Unreachable, match=words) as caught:
            await ask("http://llm.example.test/v1")
    assert "secretword" not in str(caught.value)


async def test_a_proxy_that_cannot_be_used_is_not_gone_around(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "socks5://127.0.0.1:1080")
    with pytest.raises(Unreachable, match=r"cannot be used \(`socks5://`\). Set HTTPS_PROXY to an `http://` proxy"):
        await ask("https://llm.example.test/v1")


@pytest.mark.parametrize(
    ("url", "proxied"),
    [
        ("http://llm.example.test/v1", True),
        ("http://localhost:11434/v1", False),
        ("http://127.0.0.2/v1", False),
        ("http://[::1]:8000/v1", False),
        ("http://inside.corp/v1", False),
        ("http://inside.corp.test/v1", True),
        ("https://llm.example.test/v1", False),
    ],
)
def test_no_proxy_and_this_machine_are_asked_directly(monkeypatch: pytest.MonkeyPatch, url: str, proxied: bool) -> None:
    monkeypatch.setenv("http_proxy", "proxy.corp:3128")
    monkeypatch.setenv("no_proxy", "inside.corp,other")
    found = Proxies().of(url)
    assert (found is not None) is proxied
    assert found is None or found.url == "http://proxy.corp:3128"


# --- certificates ----------------------------------------------------------------------------------------------------

_ASK = """
import asyncio, sys
from podium import PodiumError, create_models

async def main():
    async with create_models(providers={"house": {"base_url": sys.argv[1]}}) as models:
        try:
            print((await models.generate_text("house/m", prompt="Hello!")).text)
        except PodiumError as error:
            print(error.code, error)

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`ca.pem`, and `server.pem` that it signed for 127.0.0.1."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("certificates")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\nauthorityKeyIdentifier=keyid")
    new = ["req", "-newkey", "rsa:2048", "-nodes"]
    use = ["-addext", "keyUsage=critical,keyCertSign"]  # without which Python 3.13 takes no authority
    authority = ["-x509", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=House", "-days", "2", *use]
    sign = ["x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"]
    for command in (
        [*new, *authority],
        [*new, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=llm"],
        [*sign, "-extfile", "names", "-out", "server.pem"],
    ):
        subprocess.run([openssl, *command], cwd=folder, check=True, capture_output=True)
    return folder


async def test_a_house_authority_is_trusted_by_ssl_cert_file_and_else_named_in_the_error(certificates: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(written("200 OK", ANSWER))
        await writer.drain()
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]

        async def asked(**environment: str) -> str:
            known = {name: value for name, value in os.environ.items() if name != "SSL_CERT_FILE"}
            command = (sys.executable, "-c", _ASK, f"https://127.0.0.1:{port}/v1")
            process = await asyncio.create_subprocess_exec(*command, env={**known, **environment}, stdout=subprocess.PIPE)
            return (await process.communicate())[0].decode()

        with_it, without = await asyncio.gather(asked(SSL_CERT_FILE=str(certificates / "ca.pem")), asked())
    assert with_it == "Hello.\n"
    assert without.startswith("untrusted_certificate ")
    assert "SSL_CERT_FILE" in without

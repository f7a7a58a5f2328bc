"""TLS on both faces, with a key that is asked for on both."""

import datetime
import ipaddress
import ssl
from pathlib import Path

import grpc.aio
import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from service.rpc.proto.gemmule.v1 import inference_pb2
from tests.end_to_end.server import LIMIT_S, started
from tests.end_to_end.test_grpc import inference

KEY = "sk-for-the-test"


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """One for 127.0.0.1 that it has signed itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "gemmule")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(address, critical=False)
        .sign(key, hashes.SHA256())
    )
    chain, private = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return chain, private


async def test_both_faces(tiny_gguf: Path, tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    chain, private = certificate
    flags = ("--tls-cert", str(chain), "--tls-key", str(private))
    with started(tiny_gguf, tmp_path / "server", *flags, GEMMULE_API_KEY=KEY) as server:
        server.wait_until_ready()
        assert server.url.startswith("https://")
        headers = {"authorization": f"Bearer {KEY}"}
        trusted = ssl.create_default_context(cafile=str(chain))
        body = {"prompt": "a", "temperature": 0, "max_tokens": 8, "ignore_eos": True}
        async with httpx.AsyncClient(base_url=server.url, verify=trusted, timeout=LIMIT_S) as client:
            assert (await client.post("/v1/completions", json=body)).status_code == 401
            answer = (await client.post("/v1/completions", json=body, headers=headers)).json()
        options = inference_pb2.Options(temperature=0, max_tokens=8, ignore_eos=True)
        request = inference_pb2.GenerateRequest(text="a", options=options)
        credentials = grpc.ssl_channel_credentials(chain.read_bytes())
        async with grpc.aio.secure_channel(server.grpc_address(), credentials) as channel:
            metadata = (("authorization", f"Bearer {KEY}"),)
            over_grpc = await inference(channel).generate(request, metadata=metadata)
        assert over_grpc.text == answer["choices"][0]["text"]
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.get(server.url.replace("https", "http") + "/version", timeout=LIMIT_S)
        server.signal(15)
        assert server.wait() == 0
        assert KEY not in server.said()
        assert "Traceback" not in server.said(), server.said()


def test_a_certificate_that_is_none(tiny_gguf: Path, tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    chain, private = certificate
    for cert, key in ((private, chain), (tmp_path / "none", private)):
        flags = ("--tls-cert", str(cert), "--tls-key", str(key))
        with started(tiny_gguf, tmp_path / "server", *flags) as server:
            assert server.wait() == 1
            (line,) = server.err.read_text().splitlines()
            assert line.startswith("gemmule: the TLS certificate or key is not usable: ")
    with started(tiny_gguf, tmp_path / "server", "--tls-cert", str(chain)) as server:
        assert server.wait() == 1
        assert server.err.read_text() == "gemmule: tls_cert and tls_key belong together\n"

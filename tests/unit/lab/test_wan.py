"""The WAN of a lab: reached only through its router, by name, over TLS."""

from __future__ import annotations

import ssl
import sys
import time
from pathlib import Path

import pytest

from image.lab.certificates import authority, certificate
from image.lab.namespace import LabError
from image.lab.network import IPV4, Lab
from image.lab.wan import ADDRESS, WanLink, WanNetwork, start_name_server

NAME = "mirror.phase.example"
GET = (
    "import http.client, ssl, socket, sys\n"
    "context = ssl.create_default_context(cafile=sys.argv[3])\n"
    "raw = socket.create_connection((sys.argv[1], 443), 5)\n"
    "with context.wrap_socket(raw, server_hostname=sys.argv[2]) as tls:\n"
    "    tls.sendall(b'GET /hello HTTP/1.0\\r\\n\\r\\n')\n"
    "    print(tls.makefile('rb').read().decode())\n"
)


def get(lab: Lab, name: str, trusted: Path) -> str:
    return lab.run([sys.executable, "-I", "-c", GET, ADDRESS, name, str(trusted)])


def test_a_mirror_behind_the_router_answers_over_tls(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "hello").write_text("from far away")
    shown = certificate(tmp_path / "ca", NAME)
    with Lab(dns=True) as lab:
        beyond = WanNetwork(lab, WanLink(milliseconds=30))
        log = beyond.start_mirror(tmp_path / "site", NAME, shown)
        began = time.monotonic()
        assert get(lab, NAME, shown.authority).endswith("from far away\n")
        # At least three round trips; the machine's own time comes on top.
        assert time.monotonic() - began > 0.18
        assert "GET /hello" in log.read_text()
        with pytest.raises(LabError, match="CERTIFICATE_VERIFY_FAILED"):
            get(lab, NAME, authority(tmp_path / "another"))
        beyond.set_forwarding(enabled=False)
        outside = lab.run(["cat", "/proc/sys/net/ipv4/ip_forward"])
    assert outside.strip() == "0"


def test_the_authority_is_created_once_and_its_certificate_holds_no_key(tmp_path: Path) -> None:
    first = authority(tmp_path)
    assert authority(tmp_path).read_bytes() == first.read_bytes()
    assert "PRIVATE" not in first.read_text()
    context = ssl.create_default_context(cafile=first)
    assert context.cert_store_stats()["x509_ca"] == 1


def test_a_link_that_loses_all_frames_delivers_none(tmp_path: Path) -> None:
    shown = certificate(tmp_path / "ca", NAME)
    (tmp_path / "site").mkdir()
    with Lab() as lab:
        WanNetwork(lab, WanLink(loss_percent=100)).start_mirror(tmp_path / "site", NAME, shown)
        with pytest.raises(LabError, match=r"timed out|No route to host"):
            get(lab, NAME, shown.authority)


def test_dns_answers_at_the_labs_address() -> None:
    query = (
        bytes.fromhex("000101000001000000000000")
        + b"".join(bytes([len(label)]) + label.encode() for label in NAME.split("."))
        + bytes.fromhex("0000010001")
    )
    send = (
        "import socket, sys; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
        f"s.settimeout(5); s.sendto(bytes.fromhex(sys.argv[1]), ('{IPV4}', 53));"
        "print(socket.inet_ntoa(s.recv(512)[-4:]))"
    )
    with Lab(dhcp=False, dns=True) as lab:
        start_name_server(lab, {NAME: ADDRESS})
        assert lab.run([sys.executable, "-I", "-c", send, query.hex()]).strip() == ADDRESS

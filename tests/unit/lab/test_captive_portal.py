"""A captive portal in a lab intercepts as real ones do, and stops after the login."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from image.lab.captive_portal import NAME, CaptivePortal
from image.lab.certificates import certificate
from image.lab.namespace import LabError
from image.lab.network import IPV4, Lab
from image.lab.wan import ADDRESS, WanNetwork

MIRROR = "mirror.phase.example"
LOOK_UP = (
    "import socket, sys\n"
    "name = b''.join(bytes([len(x)]) + x.encode() for x in sys.argv[1].split('.'))\n"
    "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5)\n"
    "s.sendto(bytes.fromhex('000101000001000000000000') + name + bytes.fromhex(sys.argv[2]),"
    f" ('{IPV4}', 53))\n"
    "print(s.recv(512)[2:].hex())\n"
)
ASK = (
    "import http.client as h, sys\n"
    "c = h.HTTPConnection(sys.argv[1], 80, timeout=2)\n"
    "c.request('GET', '/x', headers={'Host': 'mirror.phase.example'})\n"
    "r = c.getresponse(); print(r.status, r.headers.get('Location'), r.read().decode())\n"
)


def python(lab: Lab, script: str, *words: str) -> str:
    return lab.run([sys.executable, "-I", "-c", script, *words]).strip()


def look_up(lab: Lab, name: str, kind: str = "0000010001") -> str:
    return python(lab, LOOK_UP, name, kind)


def hexed(address: str) -> str:
    return bytes(int(part) for part in address.split(".")).hex()


def test_a_portal_intercepts_everything_until_its_form_is_posted(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "x").write_text("the real one")
    with Lab(dns=True) as lab:
        WanNetwork(lab).start_mirror(
            tmp_path / "site", MIRROR, certificate(tmp_path / "ca", MIRROR)
        )
        portal = CaptivePortal(lab, {MIRROR: ADDRESS}, certificate(tmp_path / "own", NAME))

        assert look_up(lab, MIRROR).endswith(hexed(IPV4))
        assert look_up(lab, "anything.example").endswith(hexed(IPV4))
        assert look_up(lab, MIRROR, "00001c0001").startswith("81800001000000000000")
        assert python(lab, ASK, IPV4).startswith(f"302 http://{NAME}/login?from=/x")

        portal.log_in()
        assert look_up(lab, MIRROR).endswith(hexed(ADDRESS))
        assert look_up(lab, "anything.example").startswith("8183")
        assert python(lab, ASK, ADDRESS).startswith("200")


def test_a_portal_that_cannot_start_names_the_reason(tmp_path: Path) -> None:
    broken = certificate(tmp_path, NAME)
    broken.key.write_text("")
    with Lab() as lab, pytest.raises(LabError, match="portal did not start"):
        CaptivePortal(lab, {}, broken)

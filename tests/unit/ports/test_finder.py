from __future__ import annotations

import pytest

from phase_boot.ports.finder import host_of, server_of


@pytest.mark.parametrize(
    ("url", "server", "host"),
    [
        (
            "http://Peer.local:8070/stable/amd64/manifest.json",
            "http://peer.local:8070",
            "peer.local",
        ),
        ("https://mirror.example/x", "https://mirror.example", "mirror.example"),
        ("http://[fe80::1%25eth0]:80/x", "http://[fe80::1%eth0]", "fe80::1%eth0"),
        ("http://10.0.0.1", "http://10.0.0.1", "10.0.0.1"),
        ("http://10.0.0.1:80/x", "http://10.0.0.1", "10.0.0.1"),
        ("https://Mirror.example.:443", "https://mirror.example", "mirror.example"),
        ("http://[FD00:0::0:1]:8070", "http://[fd00::1]:8070", "fd00::1"),
        ("http://10.0.0.1:1?x/y", "http://10.0.0.1:1", "10.0.0.1"),
        ("http://somebody@10.0.0.1:1/x", "http://somebody@10.0.0.1:1/x", ""),
        ("http://10.0.0.1:1#x", "http://10.0.0.1:1#x", ""),
        ("nonsense", "nonsense", ""),
        ("", "", ""),
    ],
)
def test_the_server_name_and_host_of_a_url_are_extracted(url: str, server: str, host: str) -> None:
    assert (server_of(url), host_of(url)) == (server, host)

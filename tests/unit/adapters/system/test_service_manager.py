"""Messages to systemd, received on a socket of the test."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from phase_boot.adapters.system.service_manager import ServiceManager


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(5)
        yield listener


def test_readiness_and_watchdog_messages_are_sent(systemd: socket.socket) -> None:
    manager = ServiceManager({"NOTIFY_SOCKET": systemd.getsockname(), "WATCHDOG_USEC": "60000000"})
    assert manager.period == 15
    manager.ready()
    assert systemd.recv(100) == b"READY=1"
    manager.alive("fetch")
    assert systemd.recv(100) == b"WATCHDOG=1\nSTATUS=fetch"


def test_an_abstract_socket_address_is_supported() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0phase-boot-test-notify")
        listener.settimeout(5)
        ServiceManager({"NOTIFY_SOCKET": "@phase-boot-test-notify"}).ready()
        assert listener.recv(100) == b"READY=1"


def test_without_a_watchdog_there_is_no_period(systemd: socket.socket) -> None:
    assert ServiceManager({"NOTIFY_SOCKET": systemd.getsockname()}).period is None
    assert ServiceManager({"WATCHDOG_USEC": "1000000"}).period is None


@pytest.mark.parametrize("address", ["", "/nowhere/at/all", "\udcff" * 200])
def test_an_absent_service_manager_stops_no_boot(address: str) -> None:
    manager = ServiceManager({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "soon"})
    manager.ready()
    manager.alive("fetch")
    assert manager.period is None


def test_a_manager_that_does_not_listen_for_long_is_not_waited_for(
    systemd: socket.socket,
) -> None:
    manager = ServiceManager({"NOTIFY_SOCKET": systemd.getsockname()})
    for _ in range(2000):
        manager.alive("fetch")
    assert systemd.recv(100).startswith(b"WATCHDOG=1")

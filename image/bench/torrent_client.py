"""A BitTorrent client, by libtorrent.

`python -I torrent_client.py ROLE TORRENT FOLDER PORT [PEER ...]`.
It prints `ready` when it listens, `complete` when it has all pieces, and ends with its input. A
client starts to download at the first line of its input.
"""

from __future__ import annotations

import sys
import time
from importlib import import_module
from typing import Any, Final

SETTINGS: Final = {
    "enable_dht": False,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "allow_multiple_connections_per_ip": True,
    "connections_limit": 200,
    "connection_speed": 200,
    "torrent_connect_boost": 60,
    "unchoke_slots_limit": 16,
    "in_enc_policy": 2,
    "out_enc_policy": 2,
    "alert_mask": 0,
}


def main(arguments: list[str]) -> int:
    """Seed or download until the input ends."""
    # By name: only the dependency group `bench` has libtorrent, so the type checker cannot see it.
    torrent: Any = import_module("libtorrent")
    role, path, folder, port, *peers = arguments
    address = f"0.0.0.0:{port}"
    session = torrent.session({**SETTINGS, "listen_interfaces": address})
    wanted = torrent.add_torrent_params()
    wanted.ti = torrent.torrent_info(path)
    wanted.save_path = folder
    wanted.flags &= ~torrent.torrent_flags.auto_managed
    wanted.flags &= ~torrent.torrent_flags.paused
    if role != "client":
        wanted.flags |= torrent.torrent_flags.seed_mode
    if role == "sparing":
        wanted.flags |= torrent.torrent_flags.super_seeding
    handle = session.add_torrent(wanted)
    print("ready", flush=True)
    if role == "client":
        sys.stdin.readline()
        for peer in peers:
            host, _, number = peer.rpartition(":")
            handle.connect_peer((host, int(number)))
        while not handle.status().is_seeding:
            time.sleep(0.02)
        print("complete", flush=True)
    sys.stdin.read()
    return 0


def make(source: str, out: str, piece: int) -> None:
    """Write the torrent of one file, with pieces of `piece` bytes."""
    torrent: Any = import_module("libtorrent")
    files = torrent.file_storage()
    torrent.add_files(files, source)
    made = torrent.create_torrent(files, piece, torrent.create_torrent.v1_only)
    torrent.set_piece_hashes(made, source.rpartition("/")[0])
    with open(out, "wb") as file:  # noqa: PTH123 - pathlib would cost start-up time
        file.write(torrent.bencode(made.generate()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

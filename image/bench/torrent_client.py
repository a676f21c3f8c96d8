"""One BitTorrent client for the bench.

`python -I torrent_client.py ROLE TORRENT FOLDER PORT [PEER ...]`.
It says `ready` when it listens and `whole` when it has all, and ends when its input does.
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


def main(words: list[str]) -> int:
    """Serve or fetch until the input ends."""
    # By name: the ordinary environment has no libtorrent, nor the type checker any word of it.
    torrent: Any = import_module("libtorrent")
    role, path, folder, port, *peers = words
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
        print("whole", flush=True)
    sys.stdin.read()
    return 0


def make(source: str, out: str, piece: int) -> None:
    """Write the torrent of one file, in pieces of so many bytes."""
    torrent: Any = import_module("libtorrent")
    files = torrent.file_storage()
    torrent.add_files(files, source)
    made = torrent.create_torrent(files, piece, torrent.create_torrent.v1_only)
    torrent.set_piece_hashes(made, source.rpartition("/")[0])
    with open(out, "wb") as file:  # noqa: PTH123 - run by itself, with nothing imported
        file.write(torrent.bencode(made.generate()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

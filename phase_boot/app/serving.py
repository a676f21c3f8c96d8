"""`phase-boot serve`: connects the provider with the HTTP client by which it asks routers."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from phase_boot.adapters.http.fetcher import HttpFetcher
from phase_boot.provider.errors import ProvideError
from phase_boot.provider.events import Emit, to_person, to_stdout
from phase_boot.provider.gateway.upstream_records import UpstreamRecords
from phase_boot.provider.http.forwarded import TrustedProxies
from phase_boot.provider.serve import Settings
from phase_boot.provider.serve import serve as run
from policies.servers import routers_from

if TYPE_CHECKING:
    import argparse


def serve(options: argparse.Namespace) -> int:
    """Serve until the process is stopped.

    Raises:
        ProvideError: the folder, the port or an option cannot be used.
    """
    routers, fetcher = _routers(options.router), HttpFetcher()
    settings = Settings(
        folder=options.site or options.store,
        from_store=options.store is not None,
        port=options.port,
        host=options.host,
        interface=options.interface,
        announce=not options.no_announce,
        receipts=not options.no_receipts,
        public_url=options.public_url,
        upstream=UpstreamRecords(fetcher, routers) if routers else None,
        proxies=_trusted_proxies(options.trusted_proxy),
    )
    plain = options.json or not sys.stdout.isatty()
    asyncio.run(_serve(settings, to_stdout if plain else to_person, fetcher))
    return 0


async def _serve(settings: Settings, emit: Emit, fetcher: HttpFetcher) -> None:
    try:
        await run(settings, emit)
    finally:
        await fetcher.close()


def _routers(urls: list[str]) -> tuple[str, ...]:
    try:
        return routers_from(urls)
    except ValueError as error:
        raise ProvideError(f"--router is not usable: {error}.") from None


def _trusted_proxies(texts: list[str]) -> TrustedProxies:
    try:
        return TrustedProxies.parse(texts)
    except ValueError as error:
        raise ProvideError(
            f"--trusted-proxy is not usable: {error}; name the proxy's address, as 127.0.0.1 or "
            "10.0.0.0/24."
        ) from None

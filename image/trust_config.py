"""Trust and sources of a seed: the keys or root that it trusts, and the URLs that it tries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from loader.entries import MENU
from policies.model import Mode, Shell
from policies.write import SHIPPED_SHELL, RootFile, SourceUrls, StaticKeys, render_policy

NO_PUBLISHERS: Final = StaticKeys(())


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustConfig:
    """The part of a recipe that goes into the seed's policies.

    Attributes:
        publishers: a root of trust, or keys; the example target needs none.
        channel: the channel to follow.
        urls: manifest URLs to try.
        routers: base URLs of delegated routers.
        gateways: base URLs of trustless IPFS gateways.
        public: whether Internet mode may ask public routers, gateways and the DHT.
        bootstrap: multiaddrs of peers of a DHT.
        authorities: PEM certificates of authorities for HTTPS, besides Debian's.
        shell: what a person at the console may do, and whether the machine retries by itself.
    """

    publishers: StaticKeys | RootFile = NO_PUBLISHERS
    channel: str = "stable"
    urls: tuple[str, ...] = ()
    routers: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    public: bool = True
    bootstrap: tuple[str, ...] = ()
    authorities: str = ""
    shell: Shell = SHIPPED_SHELL


DEFAULT_TRUST: Final = TrustConfig()


def policy_files(config: TrustConfig) -> Mapping[str, str]:
    """Return the policies of a seed by file name, and the root of trust if there is one.

    Raises:
        PolicyError: A seed with these policies would boot nothing.
    """
    files = {
        f"{mode}.toml": render_policy(
            Mode(mode),
            trust=config.publishers,
            channel=config.channel,
            sources=SourceUrls(
                urls=config.urls,
                routers=config.routers,
                gateways=config.gateways,
                public=config.public,
                bootstrap=config.bootstrap,
            ),
            shell=config.shell,
        )
        for mode in MENU
    }
    if isinstance(config.publishers, RootFile):
        files[config.publishers.name] = config.publishers.content.decode()
    return files

"""The trustless IPFS gateway: raw blocks and CARs of the served artifacts."""

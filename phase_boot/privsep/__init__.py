"""Privilege separation: all parsing of network input runs in an unprivileged worker process.

The design is that of OpenSSH's privsep. The worker has no privileges, writes no file and holds no
key. The main process sends it requests over sockets and trusts its replies no more than the
network: manifests are verified and artifacts hashed in the main process. A body that needs only
hashing can be read by the main process directly from the socket that the worker passes
(`fd_passing`).
"""

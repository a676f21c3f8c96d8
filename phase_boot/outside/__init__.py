"""Whatever parses what the network says runs in a process of its own, which may do nothing else.

That process has no privileges, writes no file and knows no key. It is asked over sockets, and
what it answers is believed no more than what it read: manifests are verified and artifacts
hashed on this side. Bytes that need nothing but hashing may be read here too (`handover`).
"""

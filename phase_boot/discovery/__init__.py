"""Discovery: where signed manifests may be, for every state that looks for them."""

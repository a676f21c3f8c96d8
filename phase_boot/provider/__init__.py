"""The LAN provider: serves a SITE over HTTP and says so by mDNS."""

"""The LAN provider: HTTP server, trustless gateway, tracker and mDNS announcements of a SITE."""

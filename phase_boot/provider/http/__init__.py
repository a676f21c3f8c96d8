"""HTTP: connections, requests, ranges, and the log of requests."""

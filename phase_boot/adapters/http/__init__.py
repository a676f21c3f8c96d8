"""HTTP client: connections, redirects, and interpretation of untrusted response headers."""

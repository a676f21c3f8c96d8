"""HTTP and HTTPS: the fetcher's connections, and everything that a server's response may say."""

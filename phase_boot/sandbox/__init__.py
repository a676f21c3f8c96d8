"""Taking rights from a process before it touches untrusted input."""

"""The real ports: each file talks to one thing outside, and keeps its types to itself."""

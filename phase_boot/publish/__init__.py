"""The publisher: from files and a key to a signed mirror directory."""

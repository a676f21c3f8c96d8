"""Trust: bytes, keys and a time in; a ``Verified`` or one named refusal out. No I/O."""

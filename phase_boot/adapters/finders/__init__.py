"""Discovery: each finder reports URLs where a manifest may be (SPEC M2.4, M2.6)."""

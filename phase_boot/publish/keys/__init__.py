"""Key files: signing keys on disk, their passphrases, and signatures made with them."""

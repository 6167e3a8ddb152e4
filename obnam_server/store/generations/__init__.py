"""What clients commit: sessions, generations and the keyring, and what is decided about them."""

"""What a stranger, a client or a server may try, against the real parts."""

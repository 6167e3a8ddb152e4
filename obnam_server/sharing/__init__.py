"""One server for many: whose turn it is, who is connected, who guesses at tokens."""

"""`make bench`: measures a whole installation on this machine, and checks what it answered."""

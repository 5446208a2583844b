"""What concerns a process as a whole: its lifetime, garbage collection, imports."""

"""`make run`: the processes of an installation on one machine."""

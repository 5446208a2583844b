"""From templates and variables to a prompt: bounded, and stoppable where it may take long.

Imports neither Django nor the queue: the processes that do the heavy work load nothing else.
"""

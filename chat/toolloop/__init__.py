"""The tool loop of a task: what the model may call, what it has called, and what that has given."""

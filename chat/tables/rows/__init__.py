"""Reading and writing the rows of tables."""

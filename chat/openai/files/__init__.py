"""`/v1/files`: files that batches read and write, kept in PostgreSQL in pieces.

forms      a form is parsed as it comes, a part at a time
store      files of one owner: writing, finding, deleting
endpoints  the paths
"""

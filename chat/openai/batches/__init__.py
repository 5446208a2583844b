"""`/v1/batches`: a file of requests, run as a run (chat/runs/) of the kind `batch`.

endpoints  the paths
creation   a request and its file become a run
lines      the lines of a file, checked
requests   a line's body becomes the request of a task
kind       what the engine of runs asks of a batch
outcomes   a row that has ended becomes a line of a file
output     the two files are written
objects    the object of a batch, and its webhooks
purging    what a batch needs no longer
"""

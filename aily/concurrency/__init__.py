"""Building blocks of asynchronous code: batches, jobs, gates, objects by loop, circuit breaker."""

"""Building blocks of asynchronous code: batches, objects of a loop, jobs, circuit breaker."""

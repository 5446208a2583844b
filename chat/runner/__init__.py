"""The worker's side: claims tasks, runs their calls as coroutines, stores how they end."""

"""Redis: clients, Sentinel, rate limits, Dramatiq's broker, Lua scripts."""

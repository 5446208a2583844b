"""`make bench ARGS="chat_completions"`: aily's `/v1/chat/completions` beside other gateways, in one
run, with the same callers before and the same simulated provider behind each."""

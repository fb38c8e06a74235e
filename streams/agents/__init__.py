"""The stream agents: each turns the events of its topics into results, session by session."""

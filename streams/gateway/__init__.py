"""The gateway: Tenor over HTTP and WebSockets, for whoever does not speak Kafka."""

"""From a prompt to a stream of text: the one use case that every face of the service calls."""

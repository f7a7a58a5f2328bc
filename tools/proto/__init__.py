"""Makes Python of the protocol files of service/rpc/proto."""

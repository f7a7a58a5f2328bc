"""The protocol files, each with the messages that `make proto` generates from it."""

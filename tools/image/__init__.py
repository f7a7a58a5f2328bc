"""What makes the container image and checks it; not part of it."""

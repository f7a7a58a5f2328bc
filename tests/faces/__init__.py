"""Long studies of a running server's faces: fuzzing, JSON schemas, many streams, hostile connections. Knows no test."""

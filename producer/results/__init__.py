"""What a person wants to know of a sweep, read from the blobs."""

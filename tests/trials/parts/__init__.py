"""What the trials are made of: callers, the watch on a gateway's process, the books, the report."""

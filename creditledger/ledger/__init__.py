"""What is kept: the store, the head, publication, audit."""

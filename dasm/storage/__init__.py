"""What lies on disk beside sets and difficulty (`dasm.tables`), and the hashes that identify it."""

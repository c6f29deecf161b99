"""What lies on disk beside sets and difficulty (`dasm.tables`), and what it is called by."""

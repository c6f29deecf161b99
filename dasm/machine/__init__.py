"""What a run does to the machine, and counts of it: processes, threads, memory, precision, operations."""

"""What computes: processors, processes that share a run, threads, memory, progress."""

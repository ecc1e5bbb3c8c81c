"""What a person corrected in a run's results: an append-only journal beside the run, and the results that follow."""

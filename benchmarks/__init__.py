"""rxnodes side by side with what a user would pick instead. Run it with `python -m benchmarks` from the repository."""

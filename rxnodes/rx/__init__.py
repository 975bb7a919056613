"""Building blocks for any node family: hot streams, operators, back-pressure, schedulers and event loops."""

"""What serves any node family: hot streams, triggers, operators, back-pressure, schedulers and event loops."""

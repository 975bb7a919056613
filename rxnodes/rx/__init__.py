"""The parts that any node family is built of: hot streams, operators, back-pressure, schedulers and event loops."""

"""A fleet as it is seen from outside: remote connections, which follow the log and write wishes."""

"""Which node families there are, and what is in them: plugins and the toolbox."""

"""Beyond one machine: connections that many workers share."""

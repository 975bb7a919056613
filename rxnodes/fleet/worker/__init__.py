"""A worker of a fleet: it joins, claims connections, holds them, and answers for them."""

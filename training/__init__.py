"""Training and evaluation of separation networks."""

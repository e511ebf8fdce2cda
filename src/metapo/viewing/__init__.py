"""A run as others look at it: read from its store and its metrics, without disturbing a training that goes on."""

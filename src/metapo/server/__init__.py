"""The reward server: a thin shell of HTTP over `metapo.service`. Needs the extra `server`."""

"""Become a peer: keys, first contacts, and a libp2p host that survives hostile bytes."""

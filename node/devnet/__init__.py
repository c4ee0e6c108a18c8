"""A whole market on one machine: a local chain, funded wallets and five nodes as separate processes."""

"""One process: where the market's rules, the runtime, the ledger and the network meet."""

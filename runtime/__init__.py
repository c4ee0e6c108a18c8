"""Run a stranger's container so that neither the host nor the network around it can be touched, and meter it."""

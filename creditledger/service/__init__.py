"""The edge: what the network reaches, and how the network is reached."""

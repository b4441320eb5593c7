"""Where nodes live: other people's servers, and what creditledger adds to them."""

"""What is owed: tariff, accounts, the draw, settlement and the fold. Pure."""

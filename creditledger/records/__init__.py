"""What is said: the values every party signs, and their one encoding."""

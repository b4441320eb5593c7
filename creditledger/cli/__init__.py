"""The edge for people and programs: the verbs of the console script."""

"""The main job as a story: a pool is founded, works, is checked, is paid, and spends."""

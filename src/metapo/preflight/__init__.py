"""Before a run: a settings file to begin with, checks of all that the run needs, and what it will cost."""

"""verl on Ray: an evolving rubric as its reward manager, with no trainer subclassed.

options.py      the block `metapo` of a verl config
keeper.py       one Ray actor that holds the run
asking.py       that actor, or a reward server in its place
standing.py     where a run stands, and when it can't go on
manager.py      the reward manager: one sample in, one number out
rollouts.py     the agent loop manager: tells steps, validation, and where training begins
checkpoints.py  the checkpoint callback: ties a checkpoint to step and revision
slots.py        the fixed metrics of a sample, and which criterion each stands for
"""

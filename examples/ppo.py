"""PPO with a value head, from Python: python ppo.py, and python ppo.py --resume after an interruption.

`metapo train essay_ppo.yaml --out runs/ppo` does the same from the command line. Needs the extra `ppo`.
"""

import sys
from pathlib import Path

from metapo import TrainSettings
from metapo.engines.trl import train
from metapo.tasks.loading import find_task, load_prompts

settings = TrainSettings.load("essay_ppo.yaml")
prompts = load_prompts(find_task(settings.task), settings.data, settings.data.train, hub_split="train", labels=False)
train(settings, Path("runs/ppo"), prompts, resume="--resume" in sys.argv)

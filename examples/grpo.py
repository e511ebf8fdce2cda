"""An evolving rubric in TRL's GRPOTrainer, or in RLOOTrainer, which takes the same two arguments: python grpo.py"""

from datasets import load_dataset
from trl import GRPOConfig, GRPOTrainer

from metapo import EndpointSettings, Rubric, Settings
from metapo.engines.trl import EvolvingReward

judge = EndpointSettings(url="http://localhost:8000/v1", model="Qwen/Qwen2.5-32B-Instruct")
settings = Settings(task_description="Write a persuasive essay.", rubric=Rubric.load("rubric.yaml"), judge=judge)
reward = EvolvingReward.open("runs/grpo", settings)
trainer = GRPOTrainer(
    model="Qwen/Qwen2-1.5B-Instruct",
    args=GRPOConfig(output_dir="runs/grpo/checkpoints", beta=0.02),
    train_dataset=load_dataset("json", data_files="prompts.jsonl", split="train"),
    reward_funcs=reward,
    callbacks=[reward.callback],
)
trainer.train()
reward.close()

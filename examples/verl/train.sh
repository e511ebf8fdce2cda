#!/usr/bin/env bash
# PPO with a value model on a cluster, by verl on Ray. On the first machine: ray start --head; on the others:
# ray start --address FIRST:6379; then there, with a judge at the address that settings.yaml gives: bash train.sh
set -euo pipefail
cd "$(dirname "$0")"

python -m verl.trainer.main_ppo \
  'hydra.searchpath=[pkg://metapo.presets]' +verl=ppo \
  metapo.settings="$PWD/settings.yaml" metapo.store="$PWD/store.db" metapo.unscored=raise \
  actor_rollout_ref.model.path=Qwen/Qwen2-1.5B-Instruct critic.model.path=Qwen/Qwen2-1.5B-Instruct \
  data.train_files="$PWD/train.parquet" data.val_files="$PWD/test.parquet" \
  data.max_prompt_length=512 data.max_response_length=512 \
  trainer.nnodes=4 trainer.n_gpus_per_node=8 trainer.save_freq=50 trainer.test_freq=50

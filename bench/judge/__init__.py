"""What judging costs: on the server, on a real one (`bench.py`), and in this process (`client.py`).

    make vllm           vLLM's CPU build, in an environment of its own outside of the repository (3.4 GB, once)
    make bench-judge    both measurements; bench.py says so and ends if vLLM isn't there

`bench.py` judges real essays under 1, 5 and 10 criteria in the pattern of published code (two calls in a row per
criterion, the completion in front of the rubric) and in ours, all against one server with one model of random weights.
Which verdicts come back means nothing, then; how many tokens have to be read and written for them does.
`client.py` measures what 10,000 rollouts cost the process that asks, with a server that answers at once.

Absolute times depend on the machine and on who else uses it: compare only what one run has measured.
"""

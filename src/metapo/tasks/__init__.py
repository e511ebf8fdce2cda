"""What policies are trained to do: prompts in, screens, final metrics."""

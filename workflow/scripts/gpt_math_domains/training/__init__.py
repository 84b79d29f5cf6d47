"""How models learn: GPT-2, its two tasks, and one training job from its inputs to its outputs."""

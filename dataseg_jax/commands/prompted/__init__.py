"""Commands of models that answer prompts: `segment` and `masks`, the model and prompts that their flags name."""

"""Models and heads that answer prompts: one image, a head on another model's features, videos; simulated clicks."""

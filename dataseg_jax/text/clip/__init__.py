"""CLIP's text side: tokenizer, prompts, text tower, weights, embeddings."""

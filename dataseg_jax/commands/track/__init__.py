"""Objects along videos: `command` is `dataseg track`, the others are its prompts, its words and what it writes."""

"""What `experiments.track` reads on its command line, and what it writes; and how runs on videos are scored."""

"""Training: loop, sampler, augmentation, budget and history, for every family."""

"""Networks trained on images: the models, their data, the training run, its measurements and the memory it needs."""

"""How a model holds up: sources left out, corrupted images, activation maps, images of other classes. Notebooks read it."""

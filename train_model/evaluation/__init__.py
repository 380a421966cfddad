"""How a model holds up: cross-validation, corrupted images, activation maps, OOD inputs. Notebooks read it."""

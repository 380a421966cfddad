import sys

from train_model.sweep.command import main

sys.exit(main())

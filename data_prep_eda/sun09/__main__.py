import sys

from data_prep_eda.sun09.acquire import main

sys.exit(main())

from data_prep_eda import interruption

if __name__ == "__main__":
    interruption.expect()

from data_prep_eda.sun09.acquire import main

interruption.run(main)

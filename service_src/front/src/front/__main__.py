"""Start front: `python -m front`, in the folder of its `config.yaml`."""

import front.methods  # noqa: F401 - records what front offers
from band import settings, start_server

if __name__ == "__main__":
    start_server(**settings)

"""Start front: `python -m front`, in the folder of its `config.yaml`."""

from front.start import start

if __name__ == "__main__":
    start()

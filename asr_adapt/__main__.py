"""`python -m asr_adapt` is `asr-adapt`, for where the environment's scripts are not on the path."""

from asr_adapt.cli import main

if __name__ == "__main__":
    main()

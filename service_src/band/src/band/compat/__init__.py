"""What services of the original platform need of band itself: Redis clients of 2018, their requirements.txt."""

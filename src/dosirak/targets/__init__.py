"""Places where replicas run, one file each."""

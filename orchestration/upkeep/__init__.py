"""What looks after a programme: `points doctor` and `points verify`."""

"""What every destination promises, one file for each kind of promise."""

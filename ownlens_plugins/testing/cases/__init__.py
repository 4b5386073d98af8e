"""One data file for each logical type: values that stores are known to change. `reading` turns them into tables."""

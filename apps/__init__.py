"""What people touch: the command line. Parsing and showing only."""

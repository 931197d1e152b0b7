"""What a process does to a producer: fork, exit, uWSGI."""

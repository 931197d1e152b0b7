"""What a process does to its producers: forks, exits and uWSGI."""

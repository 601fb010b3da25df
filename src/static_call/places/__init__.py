"""Where trampolines live: a file or a folder for each place; protocol.py has what they offer."""

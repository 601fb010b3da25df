"""Evidence from hardware: litmus tests as a C program for any arm64 board, and what it found."""

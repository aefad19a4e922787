"""Brokers that are killed, starved of disk and watched by strace, and what must be left afterwards."""

"""The folder that a command writes into: names that are taken, locks, files that are whole or not there."""

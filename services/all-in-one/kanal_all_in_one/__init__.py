"""All of Kanal in one process, the `kanal` command, and the demo city."""

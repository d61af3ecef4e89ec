"""The `geniedrive` command: one file per subcommand, heavy imports inside."""

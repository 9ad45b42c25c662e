"""The built-in policies: one control a file, none knowing another."""

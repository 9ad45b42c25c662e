"""What people and the daemon ask a journal's files, without changing them: `pitd journal`, and the fate of old orders."""

"""What is asked of a journal's files, without changing them: `pitd journal`, and where old orders stand."""

"""The database: tables, sessions, migrations, and every query and change of state. Knows nothing of HTTP."""

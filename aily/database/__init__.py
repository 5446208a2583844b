"""PostgreSQL: statements, the read replica, the database backend, outages."""

"""The cell database: plain functions over a SQLAlchemy connection."""

"""The migrations of the cell database; an installed consoled has them as consoled.migrations."""

"""OpenStack's services behind consoled, asked on a user's behalf for as long as that takes."""

"""The bundle: what it says of itself, what its graphs declare, and where it is found."""

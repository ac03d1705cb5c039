"""What readers have of closed months: immutable folders, links to them, and a database over a set of them."""

"""The faces of the programme: the ``points`` command."""

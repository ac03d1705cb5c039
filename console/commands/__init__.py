"""The commands of ``points``, a module for each kind of work; `console.points` joins their apps."""
